//! Everything that knows openraft: its type configuration, how our log, store, snapshots and network
//! are plugged into it, and [`Consensus`], by which all above this crate speak of it.
//!
//! - `consensus`: the Raft of one replica; `propose`, `read`: entries and proofs of leadership; `membership`:
//!   changes of members; `leaders`: changes of the leader; `view`: what it knows of its group (pure); `engine`,
//!   `config`, `runtime`: openraft with our types; `types`: these
//! - `log_store`, `state_machine`: the storage
//! - `network`: the connections to the others; `peer`: one of them; `append`: appended entries;
//!   `in_flight`: those without an answer; `heartbeats`; `transfer`: a snapshot on its way; `receiving`:
//!   those that followers receive
//! - `header`: who sends and who receives; `wire`: messages and types; `judge`: what openraft mustn't see
//! - `full_peers`: followers without room; `levels`: what all voters can do
//! - `reversion`: disks that went back in time; `later_life`: a group that was revived without us; `succession`:
//!   one replica that goes on alone

pub mod append;
mod config;
mod consensus;
mod engine;
mod full_peers;
pub mod header;
mod heartbeats;
mod in_flight;
pub mod judge;
mod later_life;
mod leaders;
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
mod transfer;
pub mod types;
mod view;
pub mod wire;

pub use config::Timing;
pub use consensus::{Consensus, Replication, VoteAnswer, Watch};
pub use engine::Stopped;
pub use leaders::Leaders;
pub use membership::ChangeError;
pub use propose::{Proposal, ProposeError};
pub use read::{ReadError, Reads};
pub use reversion::Verdict;
pub use succession::{Succession, read_all};
pub use view::{Follower, Members, RaftView, Role};
