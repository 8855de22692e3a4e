//! Everything that knows openraft: its type configuration, and how our log, store,
//! snapshots and network are plugged into it.

pub mod append;
pub mod full_peers;
pub mod header;
pub mod judge;
pub mod log_store;
pub mod network;
pub mod receiving;
pub mod runtime;
pub mod state_machine;
mod transfer;
pub mod types;
pub mod wire;
