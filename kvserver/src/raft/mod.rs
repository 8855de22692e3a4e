//! Everything that knows openraft: its type configuration, and how our log, store,
//! snapshots and network are plugged into it.

pub mod log_store;
pub mod runtime;
pub mod types;
pub mod wire;
