//! A replica of a group: its life from an empty directory to a voter, and the ways of
//! reads and writes above Raft.
//!
//! - `lifecycle`: from a directory to a running replica, and again; `data_dir`: the directory; `aside`: the files
//!   that are left; `reset`: the revival of a group; `failed`: the end
//! - `replica`: the replicas of a server; `running`: one whose Raft runs; `environment`: what they share
//! - `manager`: the connection to the shard managers; `registration`: what is said there; `orders`: what comes
//!   back; `map_copy`: the shard map of this server
//! - `lead`: the duties of a leader; `members`: admissions; `removal`: the way out; `situation`: the changes of
//!   members that are safe (pure)
//! - `leader`: who leads; `handover`: has another one lead; `readiness`: the reply to probes
//! - `propose`: many requests in one entry; `writes`: the room that they need, `memory`: the gate in front of
//!   it; `read`: linearizable reads
//! - `handoff`: shards that change hands
//! - `snapshots`: when one is written, and what is purged then
//! - `peer`: the services for other servers
//! - `status`: the state for people; `tuning`: times and sizes

mod aside;
mod data_dir;
mod environment;
mod failed;
mod handoff;
mod handover;
mod lead;
mod leader;
mod lifecycle;
pub mod manager;
pub mod map_copy;
mod members;
mod memory;
mod orders;
pub mod peer;
mod propose;
mod read;
mod readiness;
mod registration;
mod removal;
mod replica;
mod reset;
mod running;
mod situation;
mod snapshots;
mod status;
mod tuning;
mod writes;

pub use data_dir::{Belongs, DataDir, Former, Identity};
pub use environment::Environment;
pub use failed::Failed;
pub use handoff::brake::Delays;
pub use handoff::counters::HandoffCounters;
pub use handoff::pace::Pace;
pub use handover::HandoverError;
pub use leader::LeaderHints;
pub use lifecycle::run;
pub use memory::MemoryGate;
pub use propose::Outcomes;
pub use read::ReadBarrier;
pub use readiness::Readiness;
pub use replica::{Replica, Replicas, State};
pub use reset::{Reset, Revived};
pub use running::Running;
pub use situation::RemovalError;
pub use tuning::Tuning;
pub use writes::WritePath;
