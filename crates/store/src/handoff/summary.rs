//! A short description of a shard in a group: for people, programs and metrics.

use skv_sharding::{Epoch, GroupId, ShardId};

use super::Progress;

/// The state of a shard in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardState {
    /// The group has all of it; it stays.
    Served,
    /// The group has all of it; it must leave, and waits for its turn.
    Queued,
    /// The group has all of it; it is served and copied.
    Copying,
    /// The group has all of it; nobody serves it until its target does.
    Frozen,
    /// The group has the parts that have come so far.
    Arriving,
}

impl From<Progress> for ShardState {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Queued => ShardState::Queued,
            Progress::Copying => ShardState::Copying,
            Progress::Frozen => ShardState::Frozen,
        }
    }
}

/// A shard in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch in the group.
    pub epoch: Epoch,
    /// Its state in the group.
    pub state: ShardState,
    /// The group that it goes to, or comes from.
    pub other: Option<GroupId>,
    /// The number of keys with a value.
    pub keys: u64,
    /// The bytes of all keys and values.
    pub bytes: u64,
    /// The number of clerks' sessions.
    pub sessions: u64,
}
