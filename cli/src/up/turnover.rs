//! Chooses the step that `skv` takes next, from those that are due (`skv-turnover`). Pure.
//!
//! `skv` takes one step at a time, and shows moving shards until they arrive. The groups that come
//! and go, and the time for it, follow from the observed state alone, so that a run that is killed
//! between two steps is continued by the next one.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid};
use skv_turnover::{Assignment, Group, Report, decide};

use crate::shards;

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Run the servers of exactly these groups.
    Run(BTreeSet<GroupId>),
    /// Let groups share the shards.
    Join(Vec<GroupId>),
    /// Let groups give their shards to the others.
    Leave(Vec<GroupId>),
    /// Watch moves that are under way.
    Follow,
    /// Have the server that leads an empty group retire it, so that it accepts no shards any more.
    Retire { group: GroupId, uid: GroupUid, server: String },
    /// Nothing now, for this reason.
    Wait(String),
    /// The store has the wanted groups.
    Done,
}

/// Returns a group that has servers, from the status of each of them.
pub(super) fn group(statuses: &BTreeMap<String, v1::ReplicaStatus>) -> Group {
    // The supervisor may stop servers late, when a group that waits now has been founded.
    let unproven = Some("waiting for the shard manager and its servers to agree".to_owned());
    Group { report: Report::of(statuses), unproven, ..Group::default() }
}

/// Returns the next step on the way to `count` groups, of those whose servers are to run by now.
pub(super) fn next(count: u32, groups: &BTreeMap<GroupId, Group>, assignment: &Assignment) -> Step {
    let turnover = decide(count, groups, Some(assignment));
    if !turnover.running.iter().eq(groups.keys()) {
        return Step::Run(turnover.running);
    }
    let mut retire = None;
    for step in turnover.steps {
        match step {
            skv_turnover::Step::Join(groups) => return Step::Join(groups),
            skv_turnover::Step::Leave(groups) => return Step::Leave(groups),
            skv_turnover::Step::Retire { group, uid, server } => {
                retire.get_or_insert(Step::Retire { group, uid, server });
            }
        }
    }
    let note = turnover.notes.into_iter().next();
    let to_share = turnover.wanted.difference(&assignment.drained);
    let may_follow = assignment.elsewhere > 0 && { to_share }.all(|id| assignment.sharing.contains(id));
    if may_follow {
        return turnover.stuck.map_or(Step::Follow, Step::Wait);
    }
    let settled = || match assignment.unsettled {
        0 => Step::Done,
        count => Step::Wait(shards::unsettled(count)),
    };
    retire.or_else(|| note.map(Step::Wait)).unwrap_or_else(settled)
}

#[cfg(test)]
mod tests {
    use skv_turnover::Leader;

    use super::*;

    const UID: GroupUid = GroupUid(7);

    fn ids(numbers: &[u32]) -> Vec<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    fn set(numbers: &[u32]) -> BTreeSet<GroupId> {
        ids(numbers).into_iter().collect()
    }

    fn leader(owned: u32) -> Leader {
        Leader { server: "server".to_owned(), uid: UID, owned, arriving: 0 }
    }

    fn led_by(leader: Option<Leader>, lives: bool, retired: bool) -> Group {
        let report = Report { leader, lives, retired, ..Report::default() };
        Group { report, ..group(&BTreeMap::new()) }
    }

    fn retire(number: u32) -> Step {
        Step::Retire { group: GroupId(number), uid: UID, server: "server".to_owned() }
    }

    /// Returns groups that run and lead, with this number of shards each.
    fn running(numbers: &[u32], owned: u32) -> BTreeMap<GroupId, Group> {
        let group = led_by(Some(leader(owned)), true, false);
        ids(numbers).into_iter().map(|id| (id, group.clone())).collect()
    }

    /// Returns an assignment to these groups, 4 shards each, among the founded ones.
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
        three.insert(GroupId(2), group(&BTreeMap::new()));
        let why = waits(next(3, &three, &sharing(&[0, 1], &[0, 1])));
        assert_eq!(why, "g2 is to join: waiting for g2 to be founded");
        let why = waits(next(3, &three, &sharing(&[0, 1], &[0, 1, 2])));
        assert_eq!(why, "g2 is to join: waiting for a leader of g2 that has a quorum");
        let three = running(&[0, 1, 2], 4);
        assert_eq!(next(3, &three, &sharing(&[0, 1], &[0, 1, 2])), Step::Join(ids(&[2])));
        let moving = Assignment { elsewhere: 4, ..sharing(&[0, 1, 2], &[0, 1, 2]) };
        assert_eq!(next(3, &three, &moving), Step::Follow);
        let unsettled = Assignment { unsettled: 1, ..sharing(&[0, 1, 2], &[0, 1, 2]) };
        let why = waits(next(3, &three, &unsettled));
        assert_eq!(why, "waiting for its group to confirm that a shard stays after all");
    }

    #[test]
    fn a_group_that_is_too_many_leaves_is_empty_retires_and_stops() {
        let mut groups = running(&[0, 1, 2], 4);
        assert_eq!(next(2, &groups, &sharing(&[0, 1, 2], &[0, 1, 2])), Step::Leave(ids(&[2])));
        let left = sharing(&[0, 1], &[0, 1, 2]);
        assert_eq!(next(2, &groups, &Assignment { elsewhere: 4, ..left.clone() }), Step::Follow);

        let third = |groups: &mut BTreeMap<GroupId, Group>, group| _ = groups.insert(GroupId(2), group);
        let moving = Assignment { elsewhere: 4, ..sharing(&[0, 1], &[0, 1, 2]) };
        let moving = Assignment { shards: [(GroupId(2), 4)].into(), ..moving };
        assert_eq!(next(2, &groups, &moving), Step::Follow);
        let mut leaderless = groups.clone();
        third(&mut leaderless, led_by(None, true, false));
        assert!(waits(next(2, &leaderless, &moving)).contains("no leader of it has a quorum"));

        assert_eq!(waits(next(2, &groups, &left)), "g2 leaves: 4 of its shards are still to go");
        let by_the_map = Assignment { shards: [(GroupId(2), 1)].into(), ..left.clone() };
        third(&mut groups, led_by(Some(leader(0)), true, false));
        assert_eq!(waits(next(2, &groups, &by_the_map)), "g2 leaves: 1 of its shards are still to go");
        assert_eq!(next(2, &groups, &left), retire(2));
        let arriving = Leader { arriving: 1, ..leader(0) };
        third(&mut groups, led_by(Some(arriving), true, false));
        assert_eq!(waits(next(2, &groups, &left)), "g2 leaves: it still receives 1 shards");
        let another = Leader { uid: GroupUid(8), ..leader(0) };
        third(&mut groups, led_by(Some(another), true, false));
        assert!(waits(next(2, &groups, &left)).contains("knows another g2"));
        third(&mut groups, led_by(None, true, false));
        assert!(waits(next(2, &groups, &left)).contains("no leader of it has a quorum"));

        third(&mut groups, led_by(Some(leader(0)), false, true));
        assert!(waits(next(2, &groups, &left)).contains("waiting for the shard manager to forget it"));
        let forgotten = sharing(&[0, 1], &[0, 1]);
        third(&mut groups, led_by(None, true, true));
        assert!(matches!(next(2, &groups, &forgotten), Step::Wait(_)), "a replica is of another");
        third(&mut groups, led_by(None, false, true));
        assert_eq!(next(2, &groups, &forgotten), Step::Run(set(&[0, 1])));
    }

    #[test]
    fn servers_that_say_nothing_are_never_stopped() {
        let mut groups = running(&[0, 1, 2], 4);
        groups.insert(GroupId(2), group(&BTreeMap::new()));
        let forgotten = sharing(&[0, 1], &[0, 1]);
        assert!(matches!(next(2, &groups, &forgotten), Step::Wait(_)));
    }

    #[test]
    fn a_retired_group_that_is_wanted_again_is_gone_first() {
        let mut groups = running(&[0, 1, 2], 4);
        groups.insert(GroupId(2), led_by(Some(leader(0)), false, true));
        let why = waits(next(3, &groups, &sharing(&[0, 1], &[0, 1, 2])));
        assert_eq!(why, "g2 is to join: waiting for the old g2 to be gone");
        assert_eq!(next(3, &groups, &sharing(&[0, 1], &[0, 1])), Step::Run(set(&[0, 1])));
    }

    #[test]
    fn groups_that_people_have_drained_stay_drained_and_go_first() {
        let groups = running(&[0, 1, 2], 0);
        let drained = Assignment { drained: set(&[1]), ..sharing(&[0, 2], &[0, 1, 2]) };
        assert_eq!(next(3, &groups, &drained), Step::Done);
        assert_eq!(next(2, &groups, &drained), retire(1));
    }

    #[test]
    fn a_founded_group_whose_servers_dont_run_runs_before_it_leaves() {
        let two = running(&[0, 1], 4);
        assert_eq!(next(2, &two, &sharing(&[0, 1, 2], &[0, 1, 2])), Step::Run(set(&[0, 1, 2])));
    }

    #[test]
    fn each_case_of_the_common_table_follows_from_what_servers_and_shard_manager_say() {
        for case in skv_turnover::cases::all() {
            let groups = case.said.iter().map(|(id, statuses)| (*id, group(statuses))).collect();
            let assignment = Assignment::of(&case.map, &case.newest);
            let turnover = decide(case.count, &groups, Some(&assignment));
            assert_eq!((turnover.steps, turnover.running), (case.steps, case.running), "{}", case.name);
            assert_eq!(turnover.notes, case.notes, "{}", case.name);
        }
    }
}
