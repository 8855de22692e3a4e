//! A replica's knowledge of its group at one moment, in words of our own. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skv_sharding::ReplicaId;

use crate::types::LogId;

/// The part that a replica plays in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It stands for election.
    Candidate,
    /// It votes.
    Follower,
    /// It receives the log, and has no vote.
    Learner,
    /// Its Raft has ended.
    Stopped,
}

/// A membership of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The voters; of both configurations while one gives way to another.
    pub voters: BTreeSet<ReplicaId>,
    /// The servers of all members.
    pub servers: BTreeMap<ReplicaId, String>,
    /// The voters to be, while one configuration gives way to another.
    pub joint: Option<BTreeSet<ReplicaId>>,
}

/// A member, as its leader sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Follower {
    /// The end of the part of its log that is the leader's.
    pub matched: Option<LogId>,
    /// The time since it last answered; `None` if it never answered this leader.
    pub silence: Option<Duration>,
    /// The time since it made progress with a snapshot that it receives now.
    pub installing: Option<Duration>,
    /// The last entry that this snapshot covers.
    pub snapshot: Option<u64>,
    /// True if it lacks what it acknowledged to this leader.
    pub gone_back: bool,
}

/// A replica's knowledge of its group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftView {
    /// The replica.
    pub own: ReplicaId,
    /// Its role.
    pub role: Role,
    /// The reason, if its Raft has failed.
    pub failed: Option<String>,
    /// Its term.
    pub term: u64,
    /// The leader that it follows, or itself.
    pub leader: Option<ReplicaId>,
    /// The members by the newest membership in its log.
    pub members: Members,
    /// The members by the newest membership that is known to be committed.
    pub committed_members: Members,
    /// True if the two are the same entry.
    pub membership_is_committed: bool,
    /// The index of its last entry.
    pub last_log: Option<u64>,
    /// The last entry that it knows a quorum to have.
    pub committed: Option<LogId>,
    /// The last entry that it has applied.
    pub applied: Option<LogId>,
    /// The last entry that its newest snapshot covers.
    pub snapshot: Option<LogId>,
    /// The last entry that its log has dropped.
    pub purged: Option<LogId>,
    /// On a leader, the time since a quorum last answered.
    pub quorum_silence: Option<Duration>,
    /// On a leader, the members.
    pub followers: BTreeMap<ReplicaId, Follower>,
}

impl RaftView {
    /// Returns a view of a replica that knows nothing yet.
    pub fn new(own: ReplicaId) -> Self {
        RaftView {
            own,
            role: Role::Learner,
            failed: None,
            term: 0,
            leader: None,
            members: Members::default(),
            committed_members: Members::default(),
            membership_is_committed: true,
            last_log: None,
            committed: None,
            applied: None,
            snapshot: None,
            purged: None,
            quorum_silence: None,
            followers: BTreeMap::new(),
        }
    }

    /// Returns true if the replica leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.own)
    }

    /// Returns true if the last change of members is over.
    pub fn is_settled(&self) -> bool {
        self.members.joint.is_none() && self.membership_is_committed
    }

    /// Returns the index up to which a member's log is the leader's.
    pub fn matched(&self, member: ReplicaId) -> Option<u64> {
        self.followers.get(&member)?.matched.map(|id| id.index)
    }
}
