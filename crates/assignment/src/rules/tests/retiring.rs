//! Groups end, and are made again under their number.

use super::changing::{arrive, change, three_groups};
use super::*;
use crate::rules::Change;

const G1: GroupId = GroupId(1);
const G2: GroupId = GroupId(2);

/// Returns the registration of a replica whose group is retired.
fn retired(bench: &Bench, group: u32, n: u64) -> Registration {
    with(bench.leader(group, n), |report| {
        report.owned.clear();
        report.retired = true;
    })
}

/// Returns the registration of the same server, started again as another pod.
fn started_again(mut registration: Registration) -> Registration {
    registration.replica.instance = "another pod".to_owned();
    registration
}

/// Returns three groups, of which the second has left and is empty.
fn drained() -> Bench {
    let mut bench = three_groups();
    change(&mut bench, &Change::Leave(vec![G1]));
    arrive(&mut bench, 0, &[(1, 2), (3, 3), (5, 4)]);
    bench
}

#[test]
fn a_group_that_is_retired_is_no_more_and_its_servers_are_told_to_stop() {
    let mut bench = drained();
    let [leader, follower] = [retired(&bench, 1, 0), bench.data(1, 1)];
    assert!(waits(&bench.say(&leader)));
    assert!(!bench.record().groups.contains_key(&G1));
    let record = bench.record().clone();
    // Replicas may have heard of it, may not have heard of it yet, or may have just started.
    let place = Registration { held: Held::Place { cluster: record.cluster }, ..empty(1, 2) };
    for left_over in [leader, follower, place] {
        assert!(waits(&bench.say(&left_over)), "{left_over:?}");
    }
    assert!(serves(&bench.say(&bench.leader(0, 0))), "what is left of it disturbs nobody");
    assert_eq!(bench.record(), &record);
}

#[test]
fn a_group_is_made_again_under_the_number_of_one_that_was_retired() {
    let mut bench = drained();
    let (old, before) = (retired(&bench, 1, 0), bench.group(1).uid);
    bench.say(&old);
    bench.silence();
    // New pods start, of which one found the volume of an old one.
    assert!(waits(&bench.say(&replacement(1, 1, 91))) && waits(&bench.say(&replacement(1, 2, 92))));
    assert_eq!(bench.say(&started_again(old.clone())), Plan::Retired);
    assert!(waits(&bench.say(&old)), "the old pod doesn't begin anything");
    assert!(matches!(bench.say(&replacement(1, 0, 90)), Plan::Bootstrap { .. }));
    assert_ne!(bench.group(1).uid, before);
    assert_eq!(change(&mut bench, &Change::Join(vec![G1])), 3);
    assert!(waits(&bench.say(&old)), "the group of now isn't the one that was retired");
    assert!(bench.record().groups.contains_key(&G1));
}

#[test]
fn a_group_that_was_asked_back_too_late_gives_its_shares_to_the_others() {
    let mut bench = drained();
    change(&mut bench, &Change::Join(vec![G1, G2]));
    change(&mut bench, &Change::Move(ShardId(0), G1));
    assert!(bench.record().moves.values().any(|planned| planned.to == G1));
    let report = retired(&bench, 1, 0);
    assert!(waits(&bench.say(&report)));
    let record = bench.record();
    assert_eq!(record.history.newest().groups, [GroupId(0), G2]);
    assert!(!record.groups.contains_key(&G1) && record.pins.is_empty());
    let stays = |shard: &ShardId, to| record.owners[shard.0 as usize].group == to;
    assert!(record.moves.iter().all(|(shard, planned)| planned.to == G2 || stays(shard, planned.to)));
    assert_eq!(record.check(), Ok(()));
}

#[test]
fn a_retired_group_stays_known_until_its_last_shard_is() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Leave(vec![G1]));
    let report = retired(&bench, 1, 0);
    assert!(waits(&bench.say(&report)));
    assert!(bench.record().groups.contains_key(&G1), "nobody has said yet that he has its shards");
    arrive(&mut bench, 0, &[(1, 2), (3, 3), (5, 4)]);
    assert!(waits(&bench.say(&report)));
    assert!(!bench.record().groups.contains_key(&G1));
}

#[test]
fn a_group_that_never_joined_is_founded_again_when_all_its_servers_are_new() {
    let mut bench = three_groups();
    let before = bench.group(2).uid;
    let again = |bench: &mut Bench| {
        bench.silence();
        [90, 91, 92].map(|id| bench.say(&replacement(2, id - 90, id)))
    };
    assert!(matches!(again(&mut bench), [.., Plan::Bootstrap { .. }]));
    assert_ne!(bench.group(2).uid, before);
    // A group that has joined may have shards.
    change(&mut bench, &Change::Join(vec![G2]));
    bench.silence();
    let uid = bench.group(2).uid;
    for id in [93, 94, 95] {
        assert!(matches!(bench.say(&replacement(2, id - 93, id)), Plan::Join { .. }));
    }
    assert_eq!(bench.group(2).uid, uid);
}

#[test]
fn without_a_record_what_is_left_of_a_retired_group_counts_for_nothing() {
    let mut bench = drained();
    let leftovers = [retired(&bench, 1, 0), retired(&bench, 1, 1)];
    bench.say(&leftovers[0]);
    let known: Vec<Registration> = [0, 2].map(|group| bench.leader(group, 0)).into();
    (bench.record, bench.heard) = (None, Heard::default());
    bench.settings.groups = 1;
    for leftover in &leftovers {
        assert!(waits(&bench.say(leftover)));
    }
    for registration in &known {
        bench.say(registration);
    }
    assert_eq!(bench.record().groups.keys().copied().collect::<Vec<_>>(), [GroupId(0), G2]);
    // The record no longer names it: it holds nothing, and may begin again.
    assert_eq!(bench.say(&leftovers[0]), Plan::Retired);
}
