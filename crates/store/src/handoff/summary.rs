//! What a group has of a shard, in short: for people, programs and metrics.

use skv_sharding::{Epoch, GroupId, ShardId};

use super::Progress;

/// What a group has of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
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

impl From<Progress> for Part {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Queued => Part::Queued,
            Progress::Copying => Part::Copying,
            Progress::Frozen => Part::Frozen,
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
    /// What the group has of it.
    pub part: Part,
    /// Where it goes, or comes from.
    pub other: Option<GroupId>,
    /// Keys with a value.
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Sessions of clerks.
    pub sessions: u64,
}
