//! Histories of operations, and the checks that they must pass.
//!
//! A history is a list of [`Event`]s, one for each call of a client. [`judge`] decides if they are
//! linearizable per key, by a search for an order that explains all answers, and if every append's
//! token is there as often as it may be, by counting. Both are needed: the search understands every
//! operation, and the count names the lost or doubled token.

mod clerk;
mod event;
mod file;
mod fingerprint;
mod interval;
mod judge;
mod model;
mod remaining;
mod report;
mod search;
mod tokens;

pub use clerk::RecordedClerk;
pub use event::{Event, Op, Outcome};
pub use file::{HistoryError, HistoryWriter, read_history};
pub use judge::{Finding, KeyReport, Options, Verdict, judge};
pub use tokens::{NotAToken, Token, TokenFault};
