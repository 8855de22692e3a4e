//! The data plane of ShardedKV: a server that hosts replicas of Raft groups, each with
//! its shards in memory and a durable log.
//!
//! [`run`] is the server as a process; [`server::run`] is the same on listeners and a disk that
//! are handed in. The way of a write: `services/kv.rs` or `services/pipeline.rs`,
//! `services/operations`, then `skv-replica`, `skv-raft` and `skv-store`. The way of a read: the
//! same door, then `skv-replica` and `skv-store`.

mod data_lock;
mod memory;
mod metrics;
mod options;
mod process;
pub mod server;
mod services;
mod srv;

pub use data_lock::DataLock;
pub use metrics::Metrics;
pub use options::{NoPlace, Options};
pub use process::run;
