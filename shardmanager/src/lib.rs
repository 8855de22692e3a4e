//! The shard manager: it owns the shard map, founds groups, and knows where their
//! replicas are. It holds nothing but one record in a store, and the data is served
//! without it.
//!
//! [`Options`] configure it and [`run`] runs it as a process; a simulation opens a
//! [`Manager`] on a store of its own and [`serve`]s it on listeners of its own.

mod gathering;
mod lab;
mod manager;
mod metrics;
mod options;
mod process;
mod published;
mod serve;
mod service;
pub mod store;
#[cfg(test)]
mod testing;
mod wire;

pub use manager::{Environment, Manager, OpenError};
pub use options::Options;
pub use process::{Error, run};
pub use published::Published;
pub use serve::{http_routes, serve, serve_beside};
// A manager is opened with types of the rules, and publishes such types.
pub use skv_assignment::{record, rules};
