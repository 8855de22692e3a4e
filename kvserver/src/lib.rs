//! The data plane of ShardedKV: a server that hosts replicas of Raft groups, each with
//! its shards in memory and a durable log.
//!
//! The way of a write: `services::kv` or the pipeline, `services::operations`,
//! `skv_replica::propose`, openraft with `raft::log_store` and `raft::network`,
//! `raft::state_machine`, `store`. The way of a read: the same door, then
//! `skv_replica::read`, `store`.

pub mod metrics;
pub mod options;
pub mod process;
pub mod server;
pub mod services;
mod srv;
