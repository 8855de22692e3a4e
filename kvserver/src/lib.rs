//! The data plane of ShardedKV: a server that hosts replicas of Raft groups, each with
//! its shards in memory and a durable log.
//!
//! The way of a write: `services::kv` or the pipeline, `services::operations`,
//! `replica::propose`, openraft with `raft::log_store` and `raft::network`,
//! `raft::state_machine`, `store`. The way of a read: the same door, then
//! `replica::read`, `store`.

pub mod addresses;
pub mod checked_file;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod log;
pub mod manager;
pub mod map_copy;
pub mod metrics;
pub mod net;
pub mod options;
pub mod process;
pub mod raft;
pub mod replica;
pub mod server;
pub mod services;
pub mod snapshot;
pub mod store;
