//! The data plane of ShardedKV: a server that hosts replicas of Raft groups, each with
//! its shards in memory and a durable log.

pub mod disk;
pub mod entropy;
pub mod log;
pub mod raft;
pub mod snapshot;
pub mod store;
