//! Facts that only one of the programs has, so that the table of cases can't contain them.

use super::*;
use crate::Leader;

const UID: GroupUid = GroupUid(7);

fn ids(numbers: &[u32]) -> BTreeSet<GroupId> {
    numbers.iter().copied().map(GroupId).collect()
}

fn running() -> Group {
    let leader = Leader { server: "server".to_owned(), uid: UID, owned: 4, arriving: 0 };
    let report = Report { leader: Some(leader), lives: true, ..Report::default() };
    Group { report, ..Group::default() }
}

/// Groups that run and share the shards.
fn store(groups: &[u32]) -> (BTreeMap<GroupId, Group>, Assignment) {
    let assignment = Assignment {
        sharing: ids(groups),
        founded: ids(groups).into_iter().map(|id| (id, UID)).collect(),
        shards: ids(groups).into_iter().map(|id| (id, 4)).collect(),
        ..Assignment::default()
    };
    (ids(groups).into_iter().map(|id| (id, running())).collect(), assignment)
}

#[test]
fn each_case_of_the_table_has_its_steps_and_its_words() {
    for case in crate::cases::all() {
        let groups = case
            .said
            .iter()
            .map(|(id, statuses)| (*id, Group { report: Report::of(statuses), ..Group::default() }));
        let assignment = Assignment::of(&case.map, &case.newest);
        let turnover = decide(case.count, &groups.collect(), Some(&assignment));
        assert_eq!(turnover.steps, case.steps, "{}", case.name);
        assert_eq!(turnover.notes, case.notes, "{}", case.name);
        assert_eq!(turnover.running, case.running, "{}", case.name);
    }
}

#[test]
fn servers_that_say_nothing_are_never_stopped() {
    let (mut groups, assignment) = store(&[0, 1]);
    let unproven = Some("nobody knows".to_owned());
    groups.insert(GroupId(2), Group { unproven, ..Group::default() });
    let turnover = decide(2, &groups, Some(&assignment));
    assert_eq!((turnover.notes, turnover.ended), (vec!["g2 is to go: nobody knows".to_owned()], ids(&[])));
    groups.insert(GroupId(2), Group::default());
    assert_eq!(decide(2, &groups, Some(&assignment)).ended, ids(&[2]), "each of them has said so");
}

#[test]
fn a_group_that_the_shard_manager_knows_otherwise_is_kept() {
    let (groups, mut assignment) = store(&[0, 1, 2]);
    assignment.sharing.remove(&GroupId(2));
    assignment.founded.insert(GroupId(2), GroupUid(8));
    let notes = decide(2, &groups, Some(&assignment)).notes;
    assert_eq!(notes, ["g2 is to leave, but the shard manager knows another g2"]);
}

#[test]
fn a_group_that_leaves_without_a_leader_is_stuck_while_it_has_shards() {
    let (mut groups, mut assignment) = store(&[0, 1, 2]);
    assignment.sharing.remove(&GroupId(2));
    assert_eq!(decide(2, &groups, Some(&assignment)).stuck, None);
    groups.insert(GroupId(2), Group::default());
    let stuck = decide(2, &groups, Some(&assignment)).stuck;
    assert_eq!(stuck.as_deref(), Some("g2 is to leave, but no leader of it has a quorum"));
    assignment.shards.remove(&GroupId(2));
    assert_eq!(decide(2, &groups, Some(&assignment)).stuck, None);
}

#[test]
fn which_of_too_many_groups_leave_is_not_said_before_the_shard_manager_can_be_asked() {
    let (mut groups, _) = store(&[0, 1, 2]);
    let notes = |count, groups: &BTreeMap<GroupId, Group>| decide(count, groups, None).notes;
    assert_eq!(notes(2, &groups), ["one of g0, g1, g2 is to leave: waiting for the shard manager"]);
    assert_eq!(notes(1, &groups), ["2 of g0, g1, g2 are to leave: waiting for the shard manager"]);
    groups.get_mut(&GroupId(2)).unwrap().servers = Servers::Stopping;
    assert_eq!(notes(2, &groups), [""; 0]);
    let turnover = decide(2, &groups, None);
    assert_eq!((turnover.ended, turnover.running), (ids(&[2]), ids(&[0, 1])), "that was decided before");
}

#[test]
fn a_group_whose_servers_stop_is_made_again_when_they_are_gone() {
    let (mut groups, mut assignment) = store(&[0, 1, 2]);
    groups.get_mut(&GroupId(2)).unwrap().servers = Servers::Stopping;
    assignment.sharing.remove(&GroupId(2));
    assignment.founded.remove(&GroupId(2));
    let turnover = decide(3, &groups, Some(&assignment));
    assert_eq!((turnover.running, turnover.ended), (ids(&[0, 1]), ids(&[2])));
    assert_eq!(turnover.notes, ["g2 is to join: waiting for the old g2 to be gone"]);
    groups.remove(&GroupId(2));
    assert_eq!(decide(3, &groups, Some(&assignment)).running, ids(&[0, 1, 2]));
}

#[test]
fn what_exists_is_what_has_servers_or_is_founded_and_is_not_retired() {
    let (mut groups, mut assignment) = store(&[0, 2]);
    assert_eq!(wanted(2, &groups, None), ids(&[0, 2]), "no g1 takes the place of g2");
    groups.remove(&GroupId(2));
    assert_eq!(wanted(2, &groups, Some(&assignment)), ids(&[0, 2]));
    assert_eq!(wanted(2, &groups, None), ids(&[0, 1]));
    groups.insert(GroupId(2), Group { report: Report { retired: true, ..Report::default() }, ..running() });
    assert_eq!(wanted(2, &groups, Some(&assignment)), ids(&[0, 1]));
    assignment.drained = ids(&[0]);
    groups.insert(GroupId(2), running());
    assert_eq!(wanted(1, &groups, Some(&assignment)), ids(&[2]));
}
