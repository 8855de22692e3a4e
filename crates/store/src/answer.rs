//! The results of applying an entry: answers, rejections, and their messages.

use std::fmt;

use bytes::Bytes;
use skv_proto::{Error, ShardOwner, v1};
use skv_sharding::{Epoch, GroupId, Incarnation, MapRevision, Revision};

use crate::KeyValue;
use crate::handoff::{Move, StepRefusal};

/// The result of applying one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// There is nothing to say.
    Nothing,
    /// The outcome of each command, in their order.
    Batch(Vec<Outcome>),
    /// The group is founded.
    Founded {
        /// True if this entry founded it; false if an earlier one did, and this one changed nothing.
        first: bool,
    },
    /// A revision of the map that the manager has named was noted.
    Obeyed {
        /// False if the group obeys a newer revision.
        accepted: bool,
        /// The revision that the group obeys now.
        revision: MapRevision,
    },
    /// The group's incarnation after a reset.
    Reset(Incarnation),
    /// The manager's list of moves was noted.
    Assigned {
        /// False if the group obeys a newer revision.
        accepted: bool,
        /// The revision that the group obeys now.
        revision: MapRevision,
        /// Moves that the list would have undone, but that are frozen.
        frozen: Vec<Move>,
    },
    /// A step of a handoff is done, now or earlier; or the reason why it isn't.
    Handoff(Result<(), StepRefusal>),
    /// True if the group is retired; it isn't while it holds anything of a shard.
    Retired(bool),
    /// The entry needs a group that is founded.
    NotFounded,
    /// The entry is invalid: nothing was done.
    Malformed,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Applied::Batch(outcomes) => write!(f, "{} outcomes", outcomes.len()),
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// The result of one command.
pub type Outcome = Result<Answer, Rejection>;

/// The answer to a command that was applied, now or earlier. A failed condition is one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The answer to a Put.
    Put {
        /// False if the condition failed.
        success: bool,
        /// The key's revision.
        revision: Revision,
    },
    /// The answer to an Append.
    Append {
        /// The key with its value before, if there was one.
        old: Option<KeyValue>,
        /// The key's revision.
        revision: Revision,
    },
    /// The answer to a Delete.
    Delete {
        /// False if the condition failed.
        success: bool,
        /// True if there was such a key before.
        found: bool,
        /// The key's revision: not 0 only if the condition failed.
        revision: Revision,
    },
}

impl Answer {
    /// Returns the kind of command that it answers.
    pub fn kind(&self) -> v1::command::Kind {
        match self {
            Answer::Put { .. } => v1::command::Kind::Put,
            Answer::Append { .. } => v1::command::Kind::Append,
            Answer::Delete { .. } => v1::command::Kind::Delete,
        }
    }
}

impl From<Answer> for v1::answer::Answer {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Put { success, revision } => {
                v1::answer::Answer::Put(v1::PutResponse { success, revision: revision.0 })
            }
            Answer::Append { old, revision } => v1::answer::Answer::Append(v1::AppendResponse {
                old_value: old.as_ref().map_or(Bytes::new(), KeyValue::to_value),
                revision: revision.0,
                found: old.is_some(),
            }),
            Answer::Delete { success, found, revision } => {
                v1::answer::Answer::Delete(v1::DeleteResponse { success, revision: revision.0, found })
            }
        }
    }
}

/// The reason why a command, or a read, was not answered. A rejected command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The group has no shards yet.
    NotFounded,
    /// The group doesn't own the shard.
    WrongGroup {
        /// The move by which the shard left this group, if there was one.
        next: Option<Move>,
    },
    /// The shard is on its way to another group, and served by none for a moment.
    Moving {
        /// The move that takes the shard to the other group.
        to: Move,
    },
    /// The shard is on its way here.
    Arriving {
        /// Its epoch here.
        epoch: Epoch,
    },
    /// The hash needs keys that are decimal integers.
    NotAnInteger,
    /// The request id has no session, or the sequence number 0.
    InvalidRequestId,
    /// The sequence number was used for another kind of request.
    ReusedRequestId,
    /// The value would be longer than the group's limit.
    ValueTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The session isn't known, and was opened at or before the floor.
    SessionExpired {
        /// The shard's floor in ms.
        floor: u64,
    },
    /// The session isn't known, and was opened in the future.
    ClockSkew {
        /// The shard's time in ms.
        time: u64,
    },
    /// The clerk had acknowledged the sequence number.
    StaleSequence {
        /// The request's.
        seq: u64,
        /// The lowest that is still open.
        acked_below: u64,
    },
    /// The sequence number lies too far above the lowest open one.
    WindowExceeded {
        /// The request's.
        seq: u64,
        /// The lowest that is still open.
        acked_below: u64,
    },
    /// An earlier transmission was applied, and its answer is no longer kept.
    AlreadyApplied {
        /// The revision that the request made.
        revision: Revision,
    },
}

/// Returns the owner of a shard after a move. The store knows no addresses.
fn owner(to: Move) -> ShardOwner {
    let Move { shard, epoch, target, target_uid } = to;
    ShardOwner { shard, group: target, uid: target_uid, epoch, replicas: Vec::new() }
}

impl Rejection {
    /// Returns the error that this group sends for it.
    pub fn into_error(self, group: GroupId) -> Error {
        match self {
            Rejection::NotFounded => Error::Unavailable(format!("{group} is not founded yet; try again")),
            Rejection::WrongGroup { next } => Error::WrongGroup { group, owner: next.map(owner) },
            Rejection::Moving { to } => Error::ShardMoving { group, target: Some(owner(to)) },
            Rejection::Arriving { .. } => Error::ShardMoving { group, target: None },
            Rejection::NotAnInteger => Error::InvalidArgument(
                "the key is not a decimal integer, which hash \"integer\" needs".to_owned(),
            ),
            Rejection::InvalidRequestId => {
                Error::InvalidArgument("a request id needs a session and a sequence number from 1".to_owned())
            }
            Rejection::ReusedRequestId => Error::InvalidArgument(
                "the request id was used for another kind of request; give each its own".to_owned(),
            ),
            Rejection::ValueTooLarge { limit } => {
                Error::InvalidArgument(format!("the value would be longer than {limit} bytes"))
            }
            Rejection::SessionExpired { floor } => Error::SessionExpired { floor },
            Rejection::ClockSkew { time } => Error::ClockSkew { time },
            Rejection::StaleSequence { seq, acked_below } => Error::StaleSequence { seq, acked_below },
            Rejection::WindowExceeded { seq, acked_below } => Error::WindowExceeded { seq, acked_below },
            Rejection::AlreadyApplied { revision } => Error::AlreadyApplied { revision },
        }
    }
}
