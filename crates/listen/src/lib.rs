//! Listeners that take connections without running out of descriptors.
//!
//! Every connection holds a descriptor, and so does every file. A process that gave all of them to
//! connections could open no file any more: so each listener has a limit, and the limits together
//! leave a reserve ([`Shares`]). A connection beyond a limit is closed at once.
//!
//! The descriptions that all listeners share are here too: their [`Services`], [`Health`] and metrics.

mod assembly;
mod connection;
mod descriptors;
mod health;
mod listener;
mod metrics;
mod page;
mod services;

pub use assembly::{Assembly, MOST_WAITING, Overdue};
pub use connection::{Connection, Silence};
pub use descriptors::{MOST_CONNECTIONS, Shares, raise_limit};
pub use health::Health;
pub use listener::{Incoming, Listener};
pub use metrics::{Counted, Metrics};
pub use page::{PAGES, metrics_page};
pub use services::{Services, explain_unknown_method};

/// The number of calls and streams that one connection may have at a time; more wait at the client. It is no
/// less than what a clerk sends on one connection.
pub const STREAMS: u32 = 256;
