//! The report on a group: gathered from each server's report on its replica of the group.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_sharding::{GroupUid, ReplicaId};

/// The reports of the servers of one group, taken together. Servers that can't be asked are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The group's leader, if one has a quorum.
    pub leader: Option<Leader>,
    /// True if a replica is of a group of which none reports itself retired. A replica that lags, or that
    /// was removed before, is of the same group as those that report it, and has nothing either.
    pub lives: bool,
    /// True if a replica reports the group retired: that was committed, and is final.
    pub retired: bool,
    /// The voters by the newest membership that any server reports.
    pub voters: BTreeMap<ReplicaId, String>,
    /// The servers of voters that haven't learned yet that their group is retired, and will from its
    /// leader.
    pub unaware: BTreeSet<String>,
}

/// A leader that has a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The leader's server.
    pub server: String,
    /// The group's identity.
    pub uid: GroupUid,
    /// The number of shards that the group owns.
    pub owned: u32,
    /// The number of shards that it receives.
    pub arriving: u32,
}

/// Returns the server that leads, and its report: it has a quorum, and of several it is the one of the
/// newest incarnation and term.
pub fn leading(statuses: &BTreeMap<String, v1::ReplicaStatus>) -> Option<(&String, &v1::ReplicaStatus)> {
    let leading = statuses.iter().filter(|(_, status)| status.leads_a_quorum() && status.ready);
    leading.max_by_key(|(_, status)| status.reign())
}

impl Report {
    /// Takes the report from each server's report on its replica of the group.
    pub fn of(statuses: &BTreeMap<String, v1::ReplicaStatus>) -> Report {
        let leader = leading(statuses).map(|(server, status)| Leader {
            server: server.clone(),
            uid: GroupUid(status.group_uid),
            owned: status.shards_owned,
            arriving: status.shards_arriving,
        });
        let voters = newest_voters(statuses);
        let ended: BTreeSet<u64> =
            statuses.values().filter(|status| status.retired).map(|status| status.group_uid).collect();
        let lives = |status: &v1::ReplicaStatus| status.group_uid != 0 && !ended.contains(&status.group_uid);
        let lags = |status: &v1::ReplicaStatus| ended.contains(&status.group_uid) && !status.retired;
        let is_led = |status: &v1::ReplicaStatus| {
            leader.as_ref().is_some_and(|leader| leader.uid == GroupUid(status.group_uid))
        };
        let unaware = statuses.iter().filter(|(server, status)| {
            lags(status) && is_led(status) && voters.get(&ReplicaId(status.replica)) == Some(*server)
        });
        Report {
            lives: statuses.values().any(lives),
            retired: !ended.is_empty(),
            unaware: unaware.map(|(server, _)| server.clone()).collect(),
            voters,
            leader,
        }
    }

    /// Returns true if the group reports itself retired, and there is no other of its number.
    pub fn is_retired(&self) -> bool {
        self.retired && !self.lives
    }
}

/// Returns the voters of the newest membership. A replica that knows of no membership has an absent id;
/// the first membership's id is all zeros.
fn newest_voters(statuses: &BTreeMap<String, v1::ReplicaStatus>) -> BTreeMap<ReplicaId, String> {
    let known =
        statuses.values().filter_map(|status| Some((status.incarnation, status.membership.as_ref()?)));
    let newest = known.max_by_key(|(incarnation, stored)| {
        (*incarnation, stored.log_id.as_ref().map(|log_id| (log_id.term, log_id.index)))
    });
    let Some(membership) = newest.and_then(|(_, stored)| stored.membership.as_ref()) else {
        return BTreeMap::new();
    };
    let ids: BTreeSet<u64> = membership.configs.iter().flat_map(|set| set.replicas.iter().copied()).collect();
    let members = membership.members.iter().filter(|member| ids.contains(&member.replica));
    members.map(|member| (ReplicaId(member.replica), member.server.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statuses: Vec<v1::ReplicaStatus>) -> Report {
        let server = |at: usize| format!("server{at}");
        Report::of(&statuses.into_iter().enumerate().map(|(at, status)| (server(at), status)).collect())
    }

    #[test]
    fn a_leader_is_one_that_has_a_quorum() {
        let leads = v1::ReplicaStatus {
            group_uid: 7,
            state: v1::ReplicaState::Leader.into(),
            ready: true,
            ..v1::ReplicaStatus::default()
        };
        let alone = v1::ReplicaStatus { quorum_lost_ms: 1, term: 9, ..leads.clone() };
        assert_eq!(of(vec![alone.clone()]).leader, None);
        let leader = Leader { server: "server1".to_owned(), uid: GroupUid(7), owned: 0, arriving: 0 };
        assert_eq!(of(vec![alone, leads]).leader, Some(leader));
        assert_eq!(of(vec![v1::ReplicaStatus::default()]), Report::default(), "it waits for a group");
    }

    #[test]
    fn of_two_leaders_the_one_of_the_newest_incarnation_counts() {
        let leads = v1::ReplicaStatus {
            state: v1::ReplicaState::Leader.into(),
            ready: true,
            term: 12,
            ..v1::ReplicaStatus::default()
        };
        let revived = v1::ReplicaStatus { incarnation: 1, term: 9, ..leads.clone() };
        assert_eq!(of(vec![revived, leads]).leader.unwrap().server, "server0");
    }

    #[test]
    fn a_replica_that_has_not_learned_that_its_group_is_retired_is_not_of_a_living_one() {
        let replica =
            |group_uid, retired| v1::ReplicaStatus { group_uid, retired, ..v1::ReplicaStatus::default() };
        let (ended, lags, another) = (replica(7, true), replica(7, false), replica(8, false));
        assert!(of(vec![lags.clone()]).lives);
        let report = of(vec![ended.clone(), lags]);
        assert!(report.retired && !report.lives && report.is_retired());
        let report = of(vec![ended, another]);
        assert!(report.lives && !report.is_retired());
    }
}
