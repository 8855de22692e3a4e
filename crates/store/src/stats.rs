//! The sizes of a store, for people and programs.

use std::collections::BTreeMap;

use crate::handoff::ShardState;

/// The sizes of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The number of keys with a value.
    pub keys: u64,
    /// The bytes of all keys and values.
    pub bytes: u64,
    /// The sessions of all shards; a clerk has one in each that it writes to.
    pub sessions: u64,
    /// The number of shards in each state; shards of which the group has nothing don't count.
    pub shards: BTreeMap<ShardState, u32>,
}

impl Stats {
    /// Returns the number of shards that the group has all of, and nobody else.
    pub fn owned(&self) -> u32 {
        self.shards.iter().filter(|(state, _)| **state != ShardState::Arriving).map(|(_, count)| count).sum()
    }

    /// Returns the number of shards in this state.
    pub fn of(&self, state: ShardState) -> u32 {
        self.shards.get(&state).copied().unwrap_or(0)
    }
}
