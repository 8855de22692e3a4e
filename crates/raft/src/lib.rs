//! Everything that knows openraft: its type configuration, how our log, store, snapshots and network
//! are plugged into it, and [`Consensus`], by which all above this crate speak of it.

pub mod append;
mod config;
mod consensus;
mod engine;
mod full_peers;
pub mod header;
mod heartbeats;
pub mod judge;
mod levels;
pub mod log_store;
mod membership;
mod network;
mod peer;
mod propose;
mod read;
mod receiving;
mod reversion;
mod runtime;
pub mod state_machine;
mod succession;
mod successor;
mod transfer;
pub mod types;
mod view;
pub mod wire;

pub use config::Timing;
pub use consensus::{Consensus, Replication, VoteAnswer, Watch};
pub use engine::Stopped;
pub use membership::ChangeError;
pub use propose::{Proposal, ProposeError};
pub use read::{ReadError, Reads};
pub use reversion::Verdict;
pub use succession::{Succession, read_all};
pub use view::{Follower, Members, RaftView, Role};
