//! Snapshot files: a group's state at one log position, written and read as a stream,
//! with a checksum over every byte.
//!
//! It knows neither the store nor Raft: a header and items go in, the same come out.

mod dir;
mod file;
mod format;
mod growing;
mod place;
mod progress;
mod receiving;
mod spool;

pub use dir::SnapshotDir;
pub use file::{OpenError, SnapshotFile};
pub use progress::Progress;
pub use receiving::Fingerprint;
pub use spool::{Judge, Spool, SpoolError};
