//! End-to-end tests: real pods on a real Kubernetes cluster, which `cargo xtask e2e` makes
//! for them.
//!
//! A test works in a [`Namespace`] of its own, where pods must keep to the restricted Pod
//! Security level. Like the tests of processes it waits for conditions, never for a time.

mod cluster;
mod diagnosis;
mod manifest;
mod namespace;
mod pod;
mod programs;

pub use cluster::Cluster;
pub use namespace::{Namespace, in_namespace};
pub use pod::Output;
pub use programs::in_project;
pub use skv_chaos::eventually;
