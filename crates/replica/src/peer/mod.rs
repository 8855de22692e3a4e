//! The services that servers offer to each other: Raft's messages, and the steps of handoffs.

mod arrival;
mod handoff;
mod opening;
mod raft;

pub use handoff::HandoffService;
pub use raft::RaftService;
