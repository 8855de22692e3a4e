//! The rules of the shard manager: from the record, the recent registrations, and one more registration or
//! request to the next record and an answer. No IO, no clock, no random source.
//!
//! - `register`: decides on a registration, and `batch` on several at once; `checks`: the refusals;
//!   `draft`: the record while it is changed, and the founding of later groups; `candidates`: the
//!   replicas that a leader may admit; `retirement`: groups that end
//! - `registration`: the words of both sides; `decision`: the outcome
//! - `rebuild`: makes a record out of the groups' reports
//! - `changes`: the changes that people ask for; `configuration`: the next assignment; `moves`: the
//!   shards on their way to it
//! - `heard`: the recent registrations, in memory only; `room`: the memory that they may take

mod batch;
mod candidates;
mod changes;
mod checks;
mod configuration;
mod decision;
mod draft;
mod heard;
mod moves;
mod rebuild;
mod register;
mod registration;
mod retirement;
mod room;
mod settings;
#[cfg(test)]
mod tests;

pub use batch::{Batch, register_all};
pub use changes::{Change, ChangeRefusal, Changed, change};
pub use decision::{Decision, Event};
pub use heard::{Heard, Leader};
pub use moves::Pending;
pub use register::register;
pub use registration::{Full, Held, Plan, Refusal, Registration, Report};
pub use settings::{ALIVE, Ids, Settings};
