//! What a group has of a shard, in short: for people, programs and metrics.

use skv_sharding::{Epoch, GroupId, ShardId};

use super::Progress;

/// The state of a shard in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardState {
    /// All of it; it stays.
    Served,
    /// All of it; it is to leave, and waits for its turn.
    Queued,
    /// All of it; it is served and copied.
    Copying,
    /// All of it; nobody serves it until its target does.
    Frozen,
    /// What has come so far.
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

/// One shard, as a group has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Which shard.
    pub shard: ShardId,
    /// Its epoch in the group.
    pub epoch: Epoch,
    /// Its state in the group.
    pub state: ShardState,
    /// Where it goes, or comes from.
    pub other: Option<GroupId>,
    /// Keys with a value.
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Sessions of clerks.
    pub sessions: u64,
}
