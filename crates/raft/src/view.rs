//! A replica's knowledge of its group at one moment, in words of our own. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skv_sharding::ReplicaId;

use crate::types::{LogId, StoredMembership};

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
    /// Those of them that had no vote before.
    pub newcomers: BTreeSet<ReplicaId>,
}

impl From<&StoredMembership> for Members {
    fn from(membership: &StoredMembership) -> Self {
        let membership = membership.membership();
        let (joint, newcomers) = match membership.get_joint_config().as_slice() {
            [before @ .., to_be] if !before.is_empty() => {
                let had_a_vote = |id: &ReplicaId| before.iter().any(|voters| voters.contains(id));
                (Some(to_be.clone()), to_be.iter().copied().filter(|id| !had_a_vote(id)).collect())
            }
            _ => (None, BTreeSet::new()),
        };
        Members {
            voters: membership.voter_ids().collect(),
            servers: membership.nodes().map(|(&id, server)| (id, server.0.clone())).collect(),
            joint,
            newcomers,
        }
    }
}

impl Members {
    /// Returns true if a replica has a vote, and no other configuration counts beside the one that gives it:
    /// else the group may still need the replica whose place it takes.
    pub fn is_settled_voter(&self, id: ReplicaId) -> bool {
        self.joint.is_none() && self.voters.contains(&id)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Membership, ServerName};

    #[test]
    fn who_had_no_vote_before_a_change_is_a_newcomer_until_it_is_over() {
        let members = |configurations: &[&[u64]]| {
            let voters = |ids: &&[u64]| ids.iter().map(|id| ReplicaId(*id)).collect::<BTreeSet<_>>();
            let names: BTreeMap<_, _> = (1..=4).map(|id| (ReplicaId(id), ServerName::default())).collect();
            let membership = Membership::new(configurations.iter().map(voters).collect(), names).unwrap();
            Members::from(&StoredMembership::new(None, membership))
        };
        let during = members(&[&[1, 2, 3], &[1, 2, 4]]);
        assert_eq!(during.voters, BTreeSet::from([1, 2, 3, 4].map(ReplicaId)));
        assert_eq!(during.joint, Some(BTreeSet::from([1, 2, 4].map(ReplicaId))));
        assert_eq!(during.newcomers, BTreeSet::from([ReplicaId(4)]));
        assert!(!during.is_settled_voter(ReplicaId(4)), "3 still counts");
        let after = members(&[&[1, 2, 4]]);
        assert!(after.is_settled_voter(ReplicaId(4)) && !after.is_settled_voter(ReplicaId(3)));
        assert_eq!((after.joint, after.newcomers), (None, BTreeSet::new()));
    }
}
