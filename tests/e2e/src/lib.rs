//! End-to-end tests: real pods on a real Kubernetes cluster, which `cargo xtask e2e` makes
//! for them.
//!
//! A test works in a [`Namespace`] of its own, where pods must keep to the restricted Pod
//! Security level. Like the tests of processes it waits for conditions, never for a time.

mod cluster;
mod diagnosis;
mod manifest;
mod namespace;
mod node;
mod operator;
mod outside;
mod pod;
mod process;
mod programs;
mod rendered;
mod store;
mod tunnel;
mod watch;

pub use cluster::Cluster;
pub use namespace::{Namespace, in_namespace};
pub use node::Node;
pub use operator::{OPERATOR_NAMESPACE, install_operator, remove_operator, start_operator};
pub use outside::reach_node;
pub use pod::{Output, is_ready};
pub use process::{Still, file_of, kill_processes_of, memory_of};
pub use programs::in_project;
pub use rendered::Rendered;
pub use skv_process::{
    Clerks, Load, Process, assert_linearizable, assert_none_failed, eventually, eventually_within, free_port,
    http_get, programs,
};
pub use store::{Store, condition};
pub use tunnel::reach_pod;
pub use watch::Watch;
