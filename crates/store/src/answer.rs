//! What applying an entry comes to: answers, rejections, and how they are sent.

use std::fmt;

use bytes::Bytes;
use skv_proto::{Error, ShardOwner, v1};
use skv_sharding::{Epoch, GroupId, Incarnation, Revision};

use crate::KeyValue;
use crate::handoff::{Move, StepRefusal};

/// What applying one entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// There is nothing to say.
    Nothing,
    /// One outcome for each command, in their order.
    Batch(Vec<Outcome>),
    /// The group is founded.
    Founded {
        /// By this entry; false: by an earlier one, and this one changed nothing.
        first: bool,
    },
    /// The manager's word was heard.
    Obeyed {
        /// False: the group obeys a newer version.
        accepted: bool,
        /// The version that the group obeys now.
        version: u64,
    },
    /// The group's incarnation after a reset.
    Reset(Incarnation),
    /// The manager's list of moves was heard.
    Assigned {
        /// False: the group obeys a newer version.
        accepted: bool,
        /// The version that the group obeys now.
        version: u64,
        /// Moves that the list would have undone, but that are frozen.
        frozen: Vec<Move>,
    },
    /// A step of a handoff is done, now or earlier; or why it isn't.
    Handoff(Result<(), StepRefusal>),
    /// Whether the group is retired; not while it holds anything of a shard.
    Retired(bool),
    /// The entry needs a group that is founded.
    NotFounded,
    /// The entry can't be what it claims: nothing was done.
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

/// What one command came to.
pub type Outcome = Result<Answer, Rejection>;

/// The answer to a command that was applied, now or earlier. A failed condition is one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a Put.
    Put {
        /// False: the condition failed.
        success: bool,
        /// The key's.
        revision: Revision,
    },
    /// To an Append.
    Append {
        /// The key with its value before, if there was one.
        old: Option<KeyValue>,
        /// The key's.
        revision: Revision,
    },
    /// To a Delete.
    Delete {
        /// False: the condition failed.
        success: bool,
        /// Whether there was such a key before.
        found: bool,
        /// The key's: not 0 only if the condition failed.
        revision: Revision,
    },
}

impl Answer {
    /// The kind of command that it answers.
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

/// An answer to another kind of command than the one that was sent: a defect.
fn mismatch(answer: &v1::answer::Answer) -> Error {
    Error::Internal(format!("the answer is of another kind than the request: {answer:?}"))
}

impl TryFrom<Answer> for v1::PutResponse {
    type Error = Error;
    fn try_from(answer: Answer) -> Result<Self, Error> {
        match answer.into() {
            v1::answer::Answer::Put(response) => Ok(response),
            other => Err(mismatch(&other)),
        }
    }
}

impl TryFrom<Answer> for v1::AppendResponse {
    type Error = Error;
    fn try_from(answer: Answer) -> Result<Self, Error> {
        match answer.into() {
            v1::answer::Answer::Append(response) => Ok(response),
            other => Err(mismatch(&other)),
        }
    }
}

impl TryFrom<Answer> for v1::DeleteResponse {
    type Error = Error;
    fn try_from(answer: Answer) -> Result<Self, Error> {
        match answer.into() {
            v1::answer::Answer::Delete(response) => Ok(response),
            other => Err(mismatch(&other)),
        }
    }
}

/// Why a command, or a read, was not answered. None of them changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The group has no shards yet.
    NotFounded,
    /// The group doesn't own the shard.
    WrongGroup {
        /// Where it went from here.
        next: Option<Move>,
    },
    /// The shard is on its way to another group, and served by none for a moment.
    Moving {
        /// Where it goes.
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

/// Who has a shard after a move. The store knows no addresses.
fn owner(to: Move) -> ShardOwner {
    let Move { shard, epoch, target, target_uid } = to;
    ShardOwner { shard, group: target, uid: target_uid, epoch, replicas: Vec::new() }
}

impl Rejection {
    /// As it is sent by this group.
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
