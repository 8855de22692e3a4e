//! The rules of the shard manager: how groups are founded and rebuilt, which group owns which shard,
//! and the record that remembers it.
//!
//! No IO, no async, no clock and no random source: times and new identities are handed in, so that
//! a rule decides alike in a server, in a simulation and in a test.

pub mod record;
pub mod rules;
