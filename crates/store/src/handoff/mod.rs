//! The replicated part of a handoff: the way of a shard from one group to another.
//!
//! The source's log decides. A shard that must leave is on the group's list (`Assignment`); `Begin`
//! makes the source keep what changes; `Freeze` ends its service for good; `Drop` forgets the shard
//! once the target serves it. The target promises (`Receive`), gathers (`Chunk`) and serves
//! (`Install`). A copy that nobody takes for too long is abandoned (`Pause`), and another begins when
//! somebody does. Each step names the shard's next epoch, and a group that has passed that epoch
//! changes nothing: so every step may be sent again at any time (invariant 5).
//!
//! The leader decides which step is due; no step calls another group.

mod changes;
mod copy;
mod rules;
mod staged;
mod step;
mod summary;

use skv_proto::v1;
use skv_sharding::{Epoch, GroupId, GroupUid, ShardId};

pub use changes::Backlog;
pub(super) use changes::{Changes, Tombstone};
pub use copy::{BaseCopy, Difference, Position};
pub(super) use staged::{Chunk, Staged};
pub use step::{HandoffStep, MalformedStep};
pub use summary::{ShardState, Summary};

/// The name of a copy of a shard on its way. The leader that begins one draws the number, so that the
/// parts of another copy can be told apart from it, also if that is of a history that a reset has
/// undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyId(pub u64);

/// A move of one shard to another group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// The shard's epoch there.
    pub epoch: Epoch,
    /// The group that gets it.
    pub target: GroupId,
    /// The identity of that group.
    pub target_uid: GroupUid,
}

impl From<Move> for v1::Move {
    fn from(from: Move) -> Self {
        Self {
            shard: from.shard.0,
            epoch: from.epoch.0,
            target: from.target.0,
            target_uid: from.target_uid.0,
        }
    }
}

impl From<v1::Move> for Move {
    fn from(wire: v1::Move) -> Self {
        Self {
            shard: ShardId(wire.shard),
            epoch: Epoch(wire.epoch),
            target: GroupId(wire.target),
            target_uid: GroupUid(wire.target_uid),
        }
    }
}

/// A group with its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub group: GroupId,
    /// Its identity.
    pub uid: GroupUid,
}

/// The progress of a move out of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The move is on the list.
    Queued,
    /// The source serves, and keeps what changes.
    Copying,
    /// Nobody serves until the target does. Never undone.
    Frozen,
}

/// A move out of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// The move.
    pub to: Move,
    /// Its progress.
    pub progress: Progress,
}

/// A shard that the group receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch here.
    pub epoch: Epoch,
    /// The group that it comes from.
    pub source: Peer,
    /// The bytes of keys and values that have come.
    pub bytes: u64,
}

/// The reason why a step changed nothing, and isn't done either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepRefusal {
    /// The group isn't founded.
    #[error("the group isn't founded")]
    NotFounded,
    /// The shard's number is too high.
    #[error("there is no such shard")]
    NoSuchShard,
    /// The step belongs to an epoch that the group has passed.
    #[error("the step is of an epoch that was passed; the newest that was seen is {0}")]
    Passed(Epoch),
    /// The step needs another before it.
    #[error("the step isn't due")]
    NotDue,
    /// The group still holds the shard from before.
    #[error("the group still holds the shard; try again")]
    Busy,
    /// The group takes no shard any more.
    #[error("the group is retired")]
    Retired,
    /// The received content isn't what was sent. It was thrown away, and must be sent again.
    #[error("what was received isn't what was sent; it must be sent again")]
    Incomplete,
    /// The step is invalid. Nothing of it was taken.
    #[error("the step can't be what it claims")]
    Malformed,
}

/// The part of a slot that outlives a shard's stay in a group: the fence against old messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fence {
    /// The highest epoch that any step or assignment named.
    pub(super) seen: Epoch,
    /// The highest epoch under which the group has owned the shard.
    pub(super) owned: Epoch,
    /// The move by which the group last gave the shard away.
    pub(super) next: Option<Move>,
}
