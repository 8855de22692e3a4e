//! The members of a group, and their state, as its servers report them.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_sharding::{ClusterId, GroupUid, Incarnation, ReplicaId};
use skv_turnover::Report;

/// The members of one group, as its servers report them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The group's leader, if one has a quorum.
    pub leader: Option<Leader>,
    /// The servers that could be asked.
    pub heard: BTreeSet<String>,
    /// The replica that each server hosts now, of those that could be asked.
    pub hosted: BTreeMap<String, ReplicaId>,
    /// The voters by the newest membership that any server reports.
    pub voters: BTreeMap<ReplicaId, String>,
    /// The replicas that report themselves ready.
    pub ready: BTreeSet<ReplicaId>,
    /// The replicas that lack room, on their disk or in memory. One that leads hands over to any that has it.
    pub full: BTreeSet<ReplicaId>,
    /// The servers that can't use the data on their volumes, and run no replica.
    pub broken: BTreeSet<String>,
    /// The servers whose replica waits for a group, and so has nothing.
    pub waiting: BTreeSet<String>,
    /// True if a replica is of a group of which none reports itself retired.
    pub lives: bool,
    /// True if a replica reports the group retired: that was committed, and is final.
    pub retired: bool,
    /// The servers of voters that haven't learned yet that their group is retired, and will from its
    /// leader.
    pub unaware: BTreeSet<String>,
}

/// A leader that has a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The leader's server.
    pub server: String,
    /// The replica.
    pub replica: ReplicaId,
    /// The group's identity.
    pub uid: GroupUid,
    /// The group's cluster.
    pub cluster: ClusterId,
    /// The life of the group.
    pub incarnation: Incarnation,
    /// True if a change of members isn't finished.
    pub changing: bool,
    /// The end of the leader's log.
    pub last: u64,
    /// The end of the log that each other voter has.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// The number of shards that the group owns.
    pub owned: u32,
    /// The number of shards that it receives.
    pub arriving: u32,
}

impl Members {
    /// Takes the members from each server's report on its replica of the group.
    pub fn from_statuses(statuses: &BTreeMap<String, v1::ReplicaStatus>) -> Members {
        let id_of = |status: &v1::ReplicaStatus| (status.replica != 0).then_some(ReplicaId(status.replica));
        let hosted =
            statuses.iter().filter_map(|(server, status)| Some((server.clone(), id_of(status)?))).collect();
        let leader = skv_turnover::leading(statuses).map(|(server, status)| Leader::new(server, status));
        let Report { lives, retired, voters, unaware, .. } = Report::of(statuses);
        // A server whose replica has no id yet hasn't opened its files, and may find any data there. One that
        // revives the group has all that is left of it.
        let waits = |status: &v1::ReplicaStatus| {
            let is_waiting = status.state() == v1::ReplicaState::Waiting;
            is_waiting && status.replica != 0 && status.reset.is_none()
        };
        let waiting = statuses.iter().filter(|(_, status)| waits(status)).map(|(s, _)| s.clone()).collect();
        let is_broken = |status: &v1::ReplicaStatus| status.state() == v1::ReplicaState::Broken;
        let broken =
            statuses.iter().filter(|(_, status)| is_broken(status)).map(|(s, _)| s.clone()).collect();
        let heard = statuses.keys().cloned().collect();
        let ready = statuses.values().filter(|status| status.ready).filter_map(id_of).collect();
        let is_full = |status: &&v1::ReplicaStatus| status.disk_full || status.memory_full;
        let full = statuses.values().filter(is_full).filter_map(id_of).collect();
        Members { leader, heard, hosted, voters, ready, full, broken, waiting, lives, retired, unaware }
    }

    /// Returns the part of it by which groups come and go.
    pub fn report(&self) -> Report {
        let leader = self.leader.as_ref().map(|leader| skv_turnover::Leader {
            server: leader.server.clone(),
            uid: leader.uid,
            owned: leader.owned,
            arriving: leader.arriving,
        });
        Report {
            leader,
            lives: self.lives,
            retired: self.retired,
            voters: self.voters.clone(),
            unaware: self.unaware.clone(),
        }
    }

    /// Returns the voters whose server hosts another replica now: theirs were lost.
    fn replaced(&self) -> BTreeSet<ReplicaId> {
        let is_lost = |(id, server): &(&ReplicaId, &String)| {
            self.hosted.get(*server).is_some_and(|hosted| hosted != *id)
        };
        self.voters.iter().filter(is_lost).map(|(id, _)| *id).collect()
    }

    /// Returns true if a server that runs has, or may get, a vote: unless it runs no replica, or waits for a group
    /// in which none has ever voted.
    pub(super) fn may_join(&self, server: &str) -> bool {
        let is_unfounded = self.waiting.contains(server) && self.voters.is_empty();
        !is_unfounded && !self.broken.contains(server)
    }

    /// Returns true if a voter may run on a server. Only a leader knows the voters: without one, each server that
    /// may join may have done so.
    pub(super) fn may_vote(&self, server: &str) -> bool {
        let on_server = || self.voters.values().any(|voter| voter == server);
        let is_voter =
            || self.hosted.get(server).map_or_else(on_server, |replica| self.voters.contains_key(replica));
        self.may_join(server) && (self.leader.is_none() || is_voter())
    }

    /// Returns true if most voters are gone for good: only a reset revives the group.
    pub fn majority_is_lost(&self) -> bool {
        self.leader.is_none() && self.replaced().len() * 2 >= self.voters.len().max(1)
    }
}

impl Leader {
    fn new(server: &str, status: &v1::ReplicaStatus) -> Leader {
        let membership = status.membership.as_ref().and_then(|stored| stored.membership.as_ref());
        let configs = membership.map_or(0, |membership| membership.configs.len());
        let peers = status.peers.iter();
        Leader {
            server: server.to_owned(),
            replica: ReplicaId(status.replica),
            uid: GroupUid(status.group_uid),
            cluster: ClusterId(status.cluster_id),
            incarnation: Incarnation(status.incarnation),
            changing: configs != 1,
            last: status.last_log.as_ref().map_or(0, |log_id| log_id.index),
            matched: peers
                .map(|p| (ReplicaId(p.replica), p.matched.as_ref().map_or(0, |log_id| log_id.index)))
                .collect(),
            owned: status.shards_owned,
            arriving: status.shards_arriving,
        }
    }

    /// Returns the identity by which requests name it.
    pub(super) fn identity(&self) -> v1::ReplicaIdentity {
        v1::ReplicaIdentity {
            cluster_id: self.cluster.0,
            group_uid: self.uid.0,
            incarnation: self.incarnation.0,
            replica: self.replica.0,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns the reports of replicas 1, 2, ... on servers `demo-g0-0`, ...; the first leads.
    pub(in crate::rollout) fn statuses(voters: &[u64]) -> BTreeMap<String, v1::ReplicaStatus> {
        let server = |id: &u64| format!("demo-g0-{}", id - 1);
        let membership = v1::Membership {
            configs: vec![v1::membership::VoterSet { replicas: voters.to_vec() }],
            members: voters
                .iter()
                .map(|id| v1::membership::Member { replica: *id, server: server(id) })
                .collect(),
        };
        let log_id = |index: u64| Some(v1::LogId { term: index.min(2), replica: 1, index });
        let stored = v1::StoredMembership { log_id: log_id(0), membership: Some(membership) };
        let status = |id: &u64| {
            let leads = *id == voters[0];
            let peers = voters[1..]
                .iter()
                .map(|id| v1::PeerProgress {
                    replica: *id,
                    server: server(id),
                    matched: log_id(10),
                    silent_ms: 1,
                })
                .collect();
            let state = if leads { v1::ReplicaState::Leader } else { v1::ReplicaState::Follower };
            let status = v1::ReplicaStatus {
                group_uid: 7,
                replica: *id,
                state: state as i32,
                ready: true,
                term: 2,
                last_log: log_id(10),
                membership: Some(stored.clone()),
                peers: if leads { peers } else { Vec::new() },
                ..v1::ReplicaStatus::default()
            };
            (server(id), status)
        };
        voters.iter().map(status).collect()
    }

    #[test]
    fn the_leader_and_the_voters_are_those_of_the_newest_word() {
        let mut statuses = statuses(&[1, 2, 3]);
        for status in statuses.values_mut() {
            let log_id = v1::LogId { term: 2, replica: 1, index: 5 };
            status.membership.as_mut().unwrap().log_id = Some(log_id);
        }
        // This leader was deposed and doesn't know it yet.
        let old = statuses.get_mut("demo-g0-2").unwrap();
        old.state = v1::ReplicaState::Leader as i32;
        old.term = 1;
        old.membership.as_mut().unwrap().log_id.as_mut().unwrap().term = 1;
        old.membership.as_mut().unwrap().membership = Some(v1::Membership::default());
        let members = Members::from_statuses(&statuses);
        let leader = members.leader.clone().unwrap();
        assert_eq!((leader.server.as_str(), leader.last, leader.changing), ("demo-g0-0", 10, false));
        assert_eq!(leader.matched, [(ReplicaId(2), 10), (ReplicaId(3), 10)].into());
        assert_eq!(members.voters.len(), 3);
        assert!(!members.majority_is_lost());
    }

    #[test]
    fn a_revived_group_counts_though_its_terms_are_lower() {
        let mut statuses = statuses(&[1, 2, 3]);
        for status in statuses.values_mut() {
            status.term = 12;
            status.membership.as_mut().unwrap().log_id = Some(v1::LogId { term: 12, replica: 1, index: 50 });
        }
        let revived = statuses.get_mut("demo-g0-2").unwrap();
        revived.state = v1::ReplicaState::Leader as i32;
        (revived.incarnation, revived.term) = (1, 9);
        let only = v1::Membership::default();
        let log_id = Some(v1::LogId { term: 8, replica: 3, index: 40 });
        revived.membership = Some(v1::StoredMembership { log_id, membership: Some(only) });
        let identity = revived.identity();
        let members = Members::from_statuses(&statuses);
        let leader = members.leader.unwrap();
        assert_eq!((leader.server.as_str(), Some(leader.identity())), ("demo-g0-2", identity));
        assert_eq!(members.voters.len(), 0, "those of the newest incarnation");
    }

    #[test]
    fn a_leader_without_a_quorum_is_none() {
        let mut statuses = statuses(&[1, 2, 3]);
        statuses.get_mut("demo-g0-0").unwrap().quorum_lost_ms = 100;
        assert_eq!(Members::from_statuses(&statuses).leader, None);
    }

    #[test]
    fn a_server_that_merely_starts_is_not_one_that_has_nothing() {
        let mut statuses = statuses(&[1, 2, 3]);
        let waiting = v1::ReplicaState::Waiting as i32;
        for (at, status) in statuses.values_mut().enumerate() {
            // The listeners serve before the files are open; an empty replica knows its id.
            let replica = if at == 0 { 9 } else { 0 };
            *status = v1::ReplicaStatus { replica, state: waiting, ..v1::ReplicaStatus::default() };
        }
        assert_eq!(Members::from_statuses(&statuses).waiting, ["demo-g0-0".to_owned()].into());
    }

    #[test]
    fn who_votes_the_leader_says_and_who_runs_no_replica_each_server() {
        let mut statuses = statuses(&[1, 2, 3]);
        statuses.get_mut("demo-g0-1").unwrap().ready = false;
        let learner = v1::ReplicaStatus { replica: 9, ..statuses["demo-g0-1"].clone() };
        statuses.insert("demo-g0-3".to_owned(), learner);
        let broken = v1::ReplicaState::Broken as i32;
        let broken = v1::ReplicaStatus { state: broken, ..v1::ReplicaStatus::default() };
        statuses.insert("demo-g0-2".to_owned(), broken);
        let members = Members::from_statuses(&statuses);
        assert_eq!(members.ready, [ReplicaId(1)].into());
        assert_eq!(members.heard.len(), 4);
        let may_vote = |members: &Members| {
            (0..5).filter(|ordinal| members.may_vote(&format!("demo-g0-{ordinal}"))).collect::<Vec<_>>()
        };
        assert_eq!(may_vote(&members), [0, 1]);
        statuses.remove("demo-g0-2");
        assert_eq!(may_vote(&Members::from_statuses(&statuses)), [0, 1, 2], "who can't be asked may");
        statuses.get_mut("demo-g0-0").unwrap().quorum_lost_ms = 100;
        assert_eq!(may_vote(&Members::from_statuses(&statuses)), [0, 1, 2, 3, 4], "nobody says who does");
    }

    #[test]
    fn a_group_is_retired_when_one_of_its_replicas_says_so_and_none_is_of_another() {
        let mut statuses = statuses(&[1, 2, 3]);
        // This replica was removed before, and learns nothing any more.
        let removed = v1::ReplicaStatus { group_uid: 7, replica: 4, ..v1::ReplicaStatus::default() };
        statuses.insert("demo-g0-3".to_owned(), removed);
        assert!(!Members::from_statuses(&statuses).retired);
        statuses.get_mut("demo-g0-0").unwrap().retired = true;
        let members = Members::from_statuses(&statuses);
        assert!(members.report().is_retired());
        assert_eq!(members.unaware, ["demo-g0-1".to_owned(), "demo-g0-2".to_owned()].into());
        statuses.get_mut("demo-g0-0").unwrap().quorum_lost_ms = 100;
        assert_eq!(Members::from_statuses(&statuses).unaware, BTreeSet::new(), "nobody tells them");
        statuses.get_mut("demo-g0-3").unwrap().group_uid = 8;
        let members = Members::from_statuses(&statuses);
        assert!(members.retired && members.lives && !members.report().is_retired());
        statuses.remove("demo-g0-3");
        for status in statuses.values_mut() {
            status.retired = true;
        }
        // This server started again, on a disk whose group has ended.
        let waiting = v1::ReplicaState::Waiting as i32;
        statuses.insert(
            "demo-g0-1".to_owned(),
            v1::ReplicaStatus { replica: 9, state: waiting, ..v1::ReplicaStatus::default() },
        );
        let members = Members::from_statuses(&statuses);
        assert!(members.report().is_retired());
        assert_eq!(members.waiting, ["demo-g0-1".to_owned()].into());
    }

    /// All that is left of the group would go with its pod.
    #[test]
    fn a_replica_that_revives_its_group_does_not_wait_for_one() {
        let mut statuses = statuses(&[1, 2, 3]);
        let survivor = statuses.get_mut("demo-g0-0").unwrap();
        survivor.state = v1::ReplicaState::Waiting as i32;
        assert!(Members::from_statuses(&statuses).waiting.contains("demo-g0-0"));
        statuses.get_mut("demo-g0-0").unwrap().reset = Some(v1::ResetProgress::default());
        let members = Members::from_statuses(&statuses);
        assert!(members.waiting.is_empty() && members.may_vote("demo-g0-0"), "{members:?}");
    }

    #[test]
    fn a_majority_is_lost_when_other_replicas_are_in_its_place() {
        let mut statuses = statuses(&[1, 2, 3]);
        let follower = v1::ReplicaState::Follower as i32;
        statuses.get_mut("demo-g0-0").unwrap().state = follower;
        // The two that can't be asked may come back.
        let waits = |id| v1::ReplicaStatus {
            replica: id,
            membership: Some(v1::StoredMembership::default()),
            ..v1::ReplicaStatus::default()
        };
        let before = statuses.clone();
        statuses.remove("demo-g0-1");
        statuses.remove("demo-g0-2");
        assert!(!Members::from_statuses(&statuses).majority_is_lost());
        let mut statuses = before;
        statuses.insert("demo-g0-1".to_owned(), waits(12));
        assert!(!Members::from_statuses(&statuses).majority_is_lost());
        statuses.insert("demo-g0-2".to_owned(), waits(13));
        assert!(Members::from_statuses(&statuses).majority_is_lost());
    }
}
