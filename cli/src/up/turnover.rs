//! Groups that come and go: from the number that is asked for, what runs, and what the shard
//! manager and the servers say, to the next step. Pure.
//!
//! The order and the conditions are the operator's: new groups are founded and have a majority
//! before they join together; groups that are too many leave together, and one is retired when by
//! its own word it has nothing; its servers stop when the shard manager has forgotten it. Each
//! step follows from what is seen alone, so that whoever is killed between two of them is
//! replaced by anybody who looks again.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid, wanted_groups};

use crate::shards;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Have the servers of exactly these groups run.
    Run(BTreeSet<GroupId>),
    /// Have groups share the shards.
    Join(Vec<GroupId>),
    /// Have groups give their shards to the others.
    Leave(Vec<GroupId>),
    /// Watch moves that are under way.
    Follow,
    /// Have a group that has nothing take nothing any more.
    Retire(GroupId, Leader),
    /// Nothing now, for this reason.
    Wait(String),
    /// All is as it is asked for.
    Done,
}

/// What the servers of a group say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Its leader, if there is one that has a quorum.
    leader: Option<Leader>,
    /// A replica is of a group of which none says that it is retired.
    lives: bool,
    /// A replica says that the group is retired: that was committed, and is final.
    retired: bool,
}

/// A leader that has a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) peer_address: String,
    pub(super) uid: GroupUid,
    owned: u32,
    arriving: u32,
}

/// What the shard manager says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The groups that share the shards by the newest configuration.
    sharing: BTreeSet<GroupId>,
    /// The groups that people have drained: they stay, without shards.
    drained: BTreeSet<GroupId>,
    founded: BTreeMap<GroupId, GroupUid>,
    /// How many shards each group owns.
    shards: BTreeMap<GroupId, u32>,
    /// Not every shard is where the newest configuration has it.
    moving: bool,
    /// How many aren't there, or may leave again, since a move that was taken back may have been too
    /// far.
    unsettled: u32,
}

impl Group {
    /// From what its servers say, each with its peer address; those that don't answer are left
    /// out.
    pub(super) fn of(statuses: &[(String, v1::ReplicaStatus)]) -> Group {
        let leading = statuses.iter().filter(|(_, status)| status.leads_a_quorum() && status.ready);
        let leader = leading.max_by_key(|(_, status)| status.reign()).map(|(address, status)| Leader {
            peer_address: address.clone(),
            uid: GroupUid(status.group_uid),
            owned: status.shards_owned,
            arriving: status.shards_arriving,
        });
        // One that lags, or that was removed before, is of the same group and has nothing either.
        let ended: BTreeSet<u64> = statuses
            .iter()
            .filter(|(_, status)| status.retired)
            .map(|(_, status)| status.group_uid)
            .collect();
        let lives = |status: &v1::ReplicaStatus| status.group_uid != 0 && !ended.contains(&status.group_uid);
        Group { leader, lives: statuses.iter().any(|(_, status)| lives(status)), retired: !ended.is_empty() }
    }
}

impl Assignment {
    pub(super) fn of(map: &v1::ShardMap, newest: &v1::Configuration) -> Assignment {
        let mut counts = BTreeMap::new();
        for range in &map.ranges {
            *counts.entry(GroupId(range.group)).or_default() += range.count;
        }
        let drained = map.groups.iter().filter(|group| group.drained);
        Assignment {
            sharing: newest.groups.iter().copied().map(GroupId).collect(),
            drained: drained.map(|group| GroupId(group.id)).collect(),
            founded: map.groups.iter().map(|group| (GroupId(group.id), GroupUid(group.uid))).collect(),
            shards: counts,
            moving: skv_proto::owners(&map.ranges) != skv_proto::owners(&newest.ranges),
            unsettled: map.moving,
        }
    }
}

/// What comes next on the way to so many groups, of those whose servers are to run by now.
pub(super) fn next(count: u32, groups: &BTreeMap<GroupId, Group>, map: &Assignment) -> Step {
    let running: BTreeSet<GroupId> = groups.keys().copied().collect();
    let founded: BTreeSet<GroupId> = map.founded.keys().copied().collect();
    let is_retired = |id: &GroupId| groups.get(id).is_some_and(|group| group.retired);
    let is_no_more = |id: &GroupId| is_retired(id) && !groups[id].lives && !founded.contains(id);
    let gone: BTreeSet<GroupId> = running.iter().copied().filter(is_no_more).collect();
    if !gone.is_empty() {
        return Step::Run(&running - &gone);
    }
    let existing = running.union(&founded).copied().filter(|id| !is_retired(id));
    let wanted = wanted_groups(count, existing, &map.sharing, &map.drained);
    // Also those that are to go, should they not run: they give what they have.
    let all: BTreeSet<GroupId> = wanted.union(&founded).copied().collect();
    if !all.is_subset(&running) {
        return Step::Run(&running | &all);
    }
    // Those that people have drained are left to them.
    let to_share: Vec<GroupId> = wanted.difference(&map.drained).copied().collect();
    if to_share.iter().any(|id| !map.sharing.contains(id)) {
        let obstacle = to_share.iter().find_map(|id| keeps_from_joining(*id, &groups[id], map));
        return obstacle.map_or(Step::Join(to_share), Step::Wait);
    }
    let leaving: Vec<GroupId> = map.sharing.difference(&wanted).copied().collect();
    if !leaving.is_empty() {
        return Step::Leave(leaving);
    }
    if map.moving {
        // Without a leader its shards stay where they are: there is nothing to watch.
        let stuck = groups.iter().find(|(id, group)| {
            !wanted.contains(id) && map.shards.contains_key(id) && group.leader.is_none()
        });
        return stuck.map_or(Step::Follow, |(id, _)| Step::Wait(has_no_leader(*id)));
    }
    let ending = groups.iter().filter(|(id, group)| !wanted.contains(id) || group.retired);
    let steps: Vec<Step> = ending.map(|(id, group)| end(*id, group, map)).collect();
    let step = steps.iter().find(|step| !matches!(step, Step::Wait(_))).or(steps.first());
    let settled =
        || if map.unsettled > 0 { Step::Wait(shards::unsettled(map.unsettled)) } else { Step::Done };
    step.cloned().unwrap_or_else(settled)
}

fn keeps_from_joining(id: GroupId, group: &Group, map: &Assignment) -> Option<String> {
    if group.retired {
        return Some(format!("waiting for the old {id} to be gone"));
    }
    if !map.founded.contains_key(&id) {
        return Some(format!("waiting for {id} to be founded"));
    }
    group.leader.is_none().then(|| format!("waiting for a leader of {id} that has a quorum"))
}

fn has_no_leader(id: GroupId) -> String {
    format!("{id} is to go, but no leader of it has a quorum")
}

/// From a group that shares the shards no more to one that is no more.
fn end(id: GroupId, group: &Group, map: &Assignment) -> Step {
    let Some(uid) = map.founded.get(&id) else {
        // It is about to be founded, or a replica is of another group of its number.
        return Step::Wait(format!("{id} is to go: waiting for the shard manager and its servers to agree"));
    };
    if group.retired && !group.lives {
        return Step::Wait(format!("{id} is retired: waiting for the shard manager to forget it"));
    }
    let Some(leader) = &group.leader else {
        return Step::Wait(has_no_leader(id));
    };
    if leader.uid != *uid {
        return Step::Wait(format!("{id} is to go, but the shard manager knows another {id}"));
    }
    let shards = map.shards.get(&id).copied().unwrap_or_default().max(leader.owned);
    if shards > 0 {
        return Step::Wait(format!("{id} leaves: {shards} of its shards are still to go"));
    }
    if leader.arriving > 0 {
        return Step::Wait(format!("{id} leaves: it still receives {} shards", leader.arriving));
    }
    Step::Retire(id, leader.clone())
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    const UID: GroupUid = GroupUid(7);

    fn ids(numbers: &[u32]) -> Vec<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    fn set(numbers: &[u32]) -> BTreeSet<GroupId> {
        ids(numbers).into_iter().collect()
    }

    fn leader(owned: u32) -> Leader {
        Leader { peer_address: "peer".to_owned(), uid: UID, owned, arriving: 0 }
    }

    /// Groups that run and lead, with as many shards each.
    fn running(numbers: &[u32], owned: u32) -> BTreeMap<GroupId, Group> {
        let group = Group { leader: Some(leader(owned)), lives: true, retired: false };
        ids(numbers).into_iter().map(|id| (id, group.clone())).collect()
    }

    /// Groups that share the shards, 4 each, of those that are founded.
    fn sharing(sharing: &[u32], founded: &[u32]) -> Assignment {
        Assignment {
            sharing: set(sharing),
            founded: ids(founded).into_iter().map(|id| (id, UID)).collect(),
            shards: ids(sharing).into_iter().map(|id| (id, 4)).collect(),
            ..Assignment::default()
        }
    }

    fn waits(step: Step) -> String {
        match step {
            Step::Wait(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_group_runs_is_founded_leads_and_joins() {
        let two = running(&[0, 1], 4);
        assert_eq!(next(2, &two, &sharing(&[0, 1], &[0, 1])), Step::Done);
        assert_eq!(next(3, &two, &sharing(&[0, 1], &[0, 1])), Step::Run(set(&[0, 1, 2])));
        let mut three = running(&[0, 1, 2], 4);
        three.insert(GroupId(2), Group::default());
        let why = waits(next(3, &three, &sharing(&[0, 1], &[0, 1])));
        assert_eq!(why, "waiting for g2 to be founded");
        let why = waits(next(3, &three, &sharing(&[0, 1], &[0, 1, 2])));
        assert_eq!(why, "waiting for a leader of g2 that has a quorum");
        let three = running(&[0, 1, 2], 4);
        assert_eq!(next(3, &three, &sharing(&[0, 1], &[0, 1, 2])), Step::Join(ids(&[0, 1, 2])));
        let moving = Assignment { moving: true, ..sharing(&[0, 1, 2], &[0, 1, 2]) };
        assert_eq!(next(3, &three, &moving), Step::Follow);
        let unsettled = Assignment { unsettled: 1, ..sharing(&[0, 1, 2], &[0, 1, 2]) };
        let why = waits(next(3, &three, &unsettled));
        assert_eq!(why, "waiting for the word of its group that a shard stays after all");
    }

    #[test]
    fn a_group_that_is_too_many_leaves_is_empty_retires_and_stops() {
        let mut groups = running(&[0, 1, 2], 4);
        assert_eq!(next(2, &groups, &sharing(&[0, 1, 2], &[0, 1, 2])), Step::Leave(ids(&[2])));
        let left = sharing(&[0, 1], &[0, 1, 2]);
        assert_eq!(next(2, &groups, &Assignment { moving: true, ..left.clone() }), Step::Follow);

        let third = |groups: &mut BTreeMap<GroupId, Group>, group| _ = groups.insert(GroupId(2), group);
        let moving = Assignment { moving: true, ..sharing(&[0, 1], &[0, 1, 2]) };
        let moving = Assignment { shards: [(GroupId(2), 4)].into(), ..moving };
        assert_eq!(next(2, &groups, &moving), Step::Follow);
        let mut leaderless = groups.clone();
        third(&mut leaderless, Group { leader: None, lives: true, retired: false });
        assert!(waits(next(2, &leaderless, &moving)).contains("no leader of it has a quorum"));

        assert_eq!(waits(next(2, &groups, &left)), "g2 leaves: 4 of its shards are still to go");
        let by_the_map = Assignment { shards: [(GroupId(2), 1)].into(), ..left.clone() };
        third(&mut groups, Group { leader: Some(leader(0)), lives: true, retired: false });
        assert_eq!(waits(next(2, &groups, &by_the_map)), "g2 leaves: 1 of its shards are still to go");
        assert_eq!(next(2, &groups, &left), Step::Retire(GroupId(2), leader(0)));
        let arriving = Leader { arriving: 1, ..leader(0) };
        third(&mut groups, Group { leader: Some(arriving), lives: true, retired: false });
        assert_eq!(waits(next(2, &groups, &left)), "g2 leaves: it still receives 1 shards");
        let another = Leader { uid: GroupUid(8), ..leader(0) };
        third(&mut groups, Group { leader: Some(another), lives: true, retired: false });
        assert!(waits(next(2, &groups, &left)).contains("knows another g2"));
        third(&mut groups, Group { leader: None, lives: true, retired: false });
        assert!(waits(next(2, &groups, &left)).contains("no leader of it has a quorum"));

        third(&mut groups, Group { leader: Some(leader(0)), lives: false, retired: true });
        assert!(waits(next(2, &groups, &left)).contains("waiting for the shard manager to forget it"));
        let forgotten = sharing(&[0, 1], &[0, 1]);
        third(&mut groups, Group { leader: None, lives: true, retired: true });
        assert!(matches!(next(2, &groups, &forgotten), Step::Wait(_)), "a replica is of another");
        third(&mut groups, Group { leader: None, lives: false, retired: true });
        assert_eq!(next(2, &groups, &forgotten), Step::Run(set(&[0, 1])));
    }

    #[test]
    fn servers_that_say_nothing_are_never_stopped() {
        let mut groups = running(&[0, 1, 2], 4);
        groups.insert(GroupId(2), Group::default());
        let forgotten = sharing(&[0, 1], &[0, 1]);
        assert!(matches!(next(2, &groups, &forgotten), Step::Wait(_)));
    }

    #[test]
    fn a_retired_group_that_is_wanted_again_is_gone_first() {
        let mut groups = running(&[0, 1, 2], 4);
        groups.insert(GroupId(2), Group { leader: Some(leader(0)), lives: false, retired: true });
        let why = waits(next(3, &groups, &sharing(&[0, 1], &[0, 1, 2])));
        assert_eq!(why, "waiting for the old g2 to be gone");
        assert_eq!(next(3, &groups, &sharing(&[0, 1], &[0, 1])), Step::Run(set(&[0, 1])));
    }

    #[test]
    fn groups_that_people_have_drained_stay_drained_and_go_first() {
        let groups = running(&[0, 1, 2], 0);
        let drained = Assignment { drained: set(&[1]), ..sharing(&[0, 2], &[0, 1, 2]) };
        assert_eq!(next(3, &groups, &drained), Step::Done);
        assert_eq!(next(2, &groups, &drained), Step::Retire(GroupId(1), leader(0)));
    }

    #[test]
    fn a_founded_group_whose_servers_dont_run_runs_before_it_leaves() {
        let two = running(&[0, 1], 4);
        assert_eq!(next(2, &two, &sharing(&[0, 1, 2], &[0, 1, 2])), Step::Run(set(&[0, 1, 2])));
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
        let of = |statuses: Vec<v1::ReplicaStatus>| {
            Group::of(&statuses.into_iter().map(|status| ("peer".to_owned(), status)).collect::<Vec<_>>())
        };
        assert_eq!(of(vec![alone.clone()]).leader, None);
        assert_eq!(of(vec![alone, leads]).leader, Some(leader(0)));
        assert_eq!(of(vec![v1::ReplicaStatus::default()]), Group::default(), "it waits for a group");
    }

    #[test]
    fn a_replica_that_has_not_learned_that_its_group_is_retired_is_not_of_a_living_one() {
        let replica = |group_uid, retired| {
            let status = v1::ReplicaStatus { group_uid, retired, ..v1::ReplicaStatus::default() };
            ("peer".to_owned(), status)
        };
        let (ended, lags, another) = (replica(7, true), replica(7, false), replica(8, false));
        assert!(Group::of(from_ref(&lags)).lives);
        let group = Group::of(&[ended.clone(), lags]);
        assert!(group.retired && !group.lives);
        assert!(Group::of(&[ended, another]).lives);
    }
}
