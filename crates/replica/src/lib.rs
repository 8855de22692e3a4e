//! A replica of a group: its life from an empty directory to a voter, and the ways of
//! reads and writes above Raft.

mod aside;
mod data_dir;
mod environment;
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
pub use handoff::brake::Slowed;
pub use handoff::counters::HandoffCounters;
pub use handoff::pace::Pace;
pub use handover::HandoverError;
pub use leader::LeaderHints;
pub use lifecycle::{Failed, run};
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
