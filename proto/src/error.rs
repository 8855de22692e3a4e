//! The typed error of every service: as a Rust enum, and as a message in a pipeline.

use skv_sharding::{Epoch, GroupId, GroupUid, Incarnation, Replica, Revision, ShardId};

use crate::v1;

/// The owner of a shard, now or after a handoff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardOwner {
    /// The shard.
    pub shard: ShardId,
    /// The owning group's number.
    pub group: GroupId,
    /// The owning group.
    pub uid: GroupUid,
    /// The epoch of its ownership; a clerk replaces a cached owner only by a higher epoch.
    pub epoch: Epoch,
    /// The owner's members, where the answering server knows them.
    pub replicas: Vec<Replica>,
}

/// The reason why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// This replica doesn't lead its group.
    #[error("this replica of {group} is not the leader{}", display_leader(.leader.as_ref()))]
    NotLeader {
        /// The group that was asked.
        group: GroupId,
        /// Its leader, where known.
        leader: Option<Replica>,
        /// The term in which `leader` leads.
        term: u64,
    },
    /// The group that was asked doesn't own the key's shard.
    #[error("{group} doesn't own the shard{}", display_owner(.owner.as_ref()))]
    WrongGroup {
        /// The group that was asked.
        group: GroupId,
        /// The owner, where known.
        owner: Option<ShardOwner>,
    },
    /// The shard is on its way to another group.
    #[error("the shard is moving{}", display_owner(.target.as_ref()))]
    ShardMoving {
        /// The group that was asked.
        group: GroupId,
        /// The group that will serve it.
        target: Option<ShardOwner>,
    },
    /// The session is no longer known.
    #[error("the session is no longer known; open one after {floor} and send the request again")]
    SessionExpired {
        /// Sessions opened at or before this time (ms) are not accepted again.
        floor: u64,
    },
    /// The session claims to have been opened in the future.
    #[error("the session was opened more than a minute after the shard's time, {time} ms")]
    ClockSkew {
        /// The shard's time in ms.
        time: u64,
    },
    /// A queue is full.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// There is no room for the write-ahead log.
    #[error("disk full: {0}")]
    DiskFull(String),
    /// There is no room in memory for what makes the data grow.
    #[error("memory full: {0}")]
    MemoryFull(String),
    /// The replica can't serve yet, or no longer.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The sequence number was acknowledged before.
    #[error("sequence number {seq} lies below {acked_below}, up to which the clerk has all answers")]
    StaleSequence {
        /// The request's sequence number.
        seq: u64,
        /// The lowest one that is still open.
        acked_below: u64,
    },
    /// The sequence number lies too far ahead.
    #[error(
        "more than {} requests of the clerk and the shard are unanswered: fewer at a time, or at a lower rate \
         (number {seq}, while {acked_below} is open)",
        Error::WINDOW
    )]
    WindowExceeded {
        /// The request's sequence number.
        seq: u64,
        /// The lowest one that is still open.
        acked_below: u64,
    },
    /// The message was meant for another recipient.
    #[error("meant for somebody else: {0}")]
    WrongIdentity(String),
    /// The sender is of a former life of the group.
    #[error("meant for a former life of the group: it was revived since, as incarnation {0}")]
    FormerLife(Incarnation),
    /// There is no version of the format that both sides know.
    #[error("unsupported version: {0}")]
    UnsupportedVersion(String),
    /// The server doesn't offer this.
    #[error("not offered: {0}")]
    Unimplemented(String),
    /// The request may have been applied, or may be later.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// The request was applied earlier and its answer is no longer kept.
    #[error("applied earlier as revision {revision}; the answer is no longer kept")]
    AlreadyApplied {
        /// The revision that the request made.
        revision: Revision,
    },
    /// A defect, or a broken disk.
    #[error("internal error: {0}")]
    Internal(String),
}

fn display_leader(leader: Option<&Replica>) -> String {
    leader.map_or(", and hears none".into(), |l| format!("; {} at {} is", l.server, l.client_address))
}

fn display_owner(owner: Option<&ShardOwner>) -> String {
    owner.map_or(String::new(), |o| {
        format!("; shard {} belongs to {} since epoch {}", o.shard, o.group, o.epoch)
    })
}

impl Error {
    /// The number of sequence numbers of one session and shard that may be open at the same time.
    pub const WINDOW: u64 = 1024;

    /// Returns true if this transmission was never applied and never will be.
    pub fn is_refusal(&self) -> bool {
        (self.reason() as i32) < 100
    }

    /// Returns the reason, as it is sent.
    pub fn reason(&self) -> v1::Reason {
        match self {
            Error::InvalidArgument(_) => v1::Reason::InvalidArgument,
            Error::NotLeader { .. } => v1::Reason::NotLeader,
            Error::WrongGroup { .. } => v1::Reason::WrongGroup,
            Error::ShardMoving { .. } => v1::Reason::ShardMoving,
            Error::SessionExpired { .. } => v1::Reason::SessionExpired,
            Error::ClockSkew { .. } => v1::Reason::ClockSkew,
            Error::Overloaded(_) => v1::Reason::Overloaded,
            Error::DiskFull(_) => v1::Reason::DiskFull,
            Error::MemoryFull(_) => v1::Reason::MemoryFull,
            Error::Unavailable(_) => v1::Reason::Unavailable,
            Error::StaleSequence { .. } => v1::Reason::StaleSequence,
            Error::WindowExceeded { .. } => v1::Reason::WindowExceeded,
            // An older version knows no other reason.
            Error::WrongIdentity(_) | Error::FormerLife(_) => v1::Reason::WrongIdentity,
            Error::UnsupportedVersion(_) => v1::Reason::UnsupportedVersion,
            Error::Unimplemented(_) => v1::Reason::Unimplemented,
            Error::OutcomeUnknown(_) => v1::Reason::OutcomeUnknown,
            Error::AlreadyApplied { .. } => v1::Reason::AlreadyApplied,
            Error::Internal(_) => v1::Reason::Internal,
        }
    }
}

impl From<Error> for v1::Error {
    fn from(error: Error) -> Self {
        let mut wire =
            v1::Error { reason: error.reason() as i32, message: error.to_string(), ..v1::Error::default() };
        match error {
            Error::InvalidArgument(text)
            | Error::Overloaded(text)
            | Error::DiskFull(text)
            | Error::MemoryFull(text)
            | Error::Unavailable(text)
            | Error::WrongIdentity(text)
            | Error::UnsupportedVersion(text)
            | Error::Unimplemented(text)
            | Error::OutcomeUnknown(text)
            | Error::Internal(text) => wire.message = text,
            Error::NotLeader { group, leader, term } => {
                wire.group = group.0;
                wire.leader = leader.map(Into::into);
                wire.term = term;
            }
            Error::WrongGroup { group, owner } | Error::ShardMoving { group, target: owner } => {
                wire.group = group.0;
                wire.owner = owner.map(Into::into);
            }
            Error::SessionExpired { floor } => wire.floor = floor,
            Error::ClockSkew { time } => wire.floor = time,
            Error::StaleSequence { seq, acked_below } | Error::WindowExceeded { seq, acked_below } => {
                wire.revision = seq;
                wire.floor = acked_below;
            }
            Error::AlreadyApplied { revision } => wire.revision = revision.0,
            Error::FormerLife(incarnation) => wire.incarnation = incarnation.0,
        }
        wire
    }
}

/// An answer has its error in a box: `build.rs` gives the reason.
impl From<Error> for Box<v1::Error> {
    fn from(error: Error) -> Self {
        Box::new(error.into())
    }
}

impl From<Box<v1::Error>> for Error {
    fn from(wire: Box<v1::Error>) -> Self {
        Error::from(*wire)
    }
}

impl From<v1::Error> for Error {
    fn from(wire: v1::Error) -> Self {
        let group = GroupId(wire.group);
        let owner = wire.owner.clone().map(Into::into);
        match wire.reason() {
            v1::Reason::InvalidArgument => Error::InvalidArgument(wire.message),
            v1::Reason::NotLeader => {
                Error::NotLeader { group, leader: wire.leader.map(Into::into), term: wire.term }
            }
            v1::Reason::WrongGroup => Error::WrongGroup { group, owner },
            v1::Reason::ShardMoving => Error::ShardMoving { group, target: owner },
            v1::Reason::SessionExpired => Error::SessionExpired { floor: wire.floor },
            v1::Reason::ClockSkew => Error::ClockSkew { time: wire.floor },
            v1::Reason::Overloaded => Error::Overloaded(wire.message),
            v1::Reason::DiskFull => Error::DiskFull(wire.message),
            v1::Reason::MemoryFull => Error::MemoryFull(wire.message),
            v1::Reason::Unavailable => Error::Unavailable(wire.message),
            v1::Reason::StaleSequence => Error::StaleSequence { seq: wire.revision, acked_below: wire.floor },
            v1::Reason::WindowExceeded => {
                Error::WindowExceeded { seq: wire.revision, acked_below: wire.floor }
            }
            v1::Reason::WrongIdentity if wire.incarnation > 0 => {
                Error::FormerLife(Incarnation(wire.incarnation))
            }
            v1::Reason::WrongIdentity => Error::WrongIdentity(wire.message),
            v1::Reason::UnsupportedVersion => Error::UnsupportedVersion(wire.message),
            v1::Reason::Unimplemented => Error::Unimplemented(wire.message),
            v1::Reason::AlreadyApplied => Error::AlreadyApplied { revision: Revision(wire.revision) },
            v1::Reason::Internal => Error::Internal(wire.message),
            // An unknown reason promises nothing.
            v1::Reason::Unspecified | v1::Reason::OutcomeUnknown => Error::OutcomeUnknown(wire.message),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn every_error() -> Vec<Error> {
        let owner = ShardOwner {
            shard: ShardId(3),
            group: GroupId(1),
            uid: GroupUid(77),
            epoch: Epoch(5),
            replicas: Vec::new(),
        };
        vec![
            Error::InvalidArgument("a".into()),
            Error::NotLeader { group: GroupId(1), leader: None, term: 4 },
            Error::WrongGroup { group: GroupId(2), owner: Some(owner.clone()) },
            Error::ShardMoving { group: GroupId(2), target: Some(owner) },
            Error::SessionExpired { floor: 7 },
            Error::ClockSkew { time: 8 },
            Error::Overloaded("b".into()),
            Error::DiskFull("c".into()),
            Error::MemoryFull("j".into()),
            Error::Unavailable("d".into()),
            Error::StaleSequence { seq: 1, acked_below: 2 },
            Error::WindowExceeded { seq: 1026, acked_below: 2 },
            Error::WrongIdentity("e".into()),
            Error::FormerLife(Incarnation(3)),
            Error::UnsupportedVersion("f".into()),
            Error::Unimplemented("i".into()),
            Error::OutcomeUnknown("g".into()),
            Error::AlreadyApplied { revision: Revision(9) },
            Error::Internal("h".into()),
        ]
    }

    #[test]
    fn errors_survive_the_way_through_a_message() {
        for error in every_error() {
            assert_eq!(Error::from(v1::Error::from(error.clone())), error);
        }
    }

    #[test]
    fn only_refusals_promise_that_nothing_was_applied() {
        for error in every_error() {
            let may_have_applied =
                matches!(error, Error::OutcomeUnknown(_) | Error::AlreadyApplied { .. } | Error::Internal(_));
            assert_eq!(error.is_refusal(), !may_have_applied, "{error}");
        }
    }
}
