//! Listeners that take connections without running out of descriptors.
//!
//! Every connection holds a descriptor, and so does every file. A process that gave all of them to
//! connections could open no file any more: so each listener has a limit, and the limits together
//! leave a reserve ([`Shares`]). A connection beyond a limit is closed at once.

mod connection;
mod descriptors;
mod listener;
mod metrics;

pub use connection::Connection;
pub use descriptors::{MOST_CONNECTIONS, Shares, raise_limit};
pub use listener::{Incoming, Listener};
pub use metrics::{Counted, Metrics};
