//! When the record was lost, or put back from an older copy (invariant 7).

use super::*;

/// A cluster whose groups have data and whose manager has just started without a record.
fn lost() -> (Bench, Record) {
    let mut bench = Bench::new();
    bench.found();
    let record = bench.record.take().unwrap();
    (Bench::new(), record)
}

/// A bench that can speak for the groups of a record, though its own is another one.
fn speaker(record: &Record) -> Bench {
    Bench { record: Some(record.clone()), ..Bench::new() }
}

fn owner(group: u32, epoch: u64) -> Owner {
    Owner { group: GroupId(group), epoch: Epoch(epoch) }
}

#[test]
fn the_map_is_rebuilt_when_the_leaders_of_all_groups_have_reported() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    let obeying = |n, obeyed| with(groups.leader(n, 0), |report| report.obeyed = MapRevision(obeyed));
    assert!(waits(&bench.say(&groups.data(0, 1))));
    assert!(waits(&bench.say(&obeying(0, 40))));
    assert!(waits(&bench.say(&groups.data(1, 1))), "not a leader");
    assert_eq!(bench.record, None);

    assert!(serves(&bench.say(&obeying(1, 30))));
    let rebuilt = bench.record();
    assert_eq!((rebuilt.cluster, &rebuilt.owners), (truth.cluster, &truth.owners));
    assert_eq!(rebuilt.revision, MapRevision(41), "above all that was obeyed");
    for (id, group) in &rebuilt.groups {
        assert_eq!((group.uid, group.incarnation), (truth.groups[id].uid, truth.groups[id].incarnation));
        assert_eq!(group.bootstrap, None, "nobody founds it again");
    }
    assert_eq!(bench.group(0).members[1], member(0, 1), "addresses come from registrations");
    assert_eq!(rebuilt.history.newest_number(), 1);
    assert_eq!(bench.writes, [Event::Rebuilt]);
}

#[test]
fn an_emptied_replica_does_not_found_a_second_cluster() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    // All others of its group are empty too, but for one that speaks last.
    for registration in [replacement(0, 0, 70), replacement(0, 1, 71), empty(1, 0), empty(1, 1), empty(1, 2)]
    {
        assert!(waits(&bench.say(&registration)));
    }
    assert!(waits(&bench.say(&groups.data(0, 2))));
    assert!(waits(&bench.say(&replacement(0, 0, 70))));
    assert_eq!(bench.record, None);
}

#[test]
fn a_group_that_held_data_is_never_founded_again() {
    let (mut bench, truth) = lost();
    assert!(waits(&bench.say(&speaker(&truth).data(0, 0))));
    bench.silence();
    for (group, n) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        assert!(waits(&bench.say(&replacement(group, n, u64::from(group) * 10 + n + 500))));
    }
    assert_eq!(bench.record, None);
}

#[test]
fn a_group_all_of_whose_replicas_are_empty_gets_what_no_other_owns() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    (0..3).for_each(|n| assert!(waits(&bench.say(&replacement(1, n, 500 + n)))));
    let report = with(groups.leader(0, 0), |report| {
        report.owned = vec![(ShardId(0), Epoch(1)), (ShardId(2), Epoch(8)), (ShardId(3), Epoch(2))];
    });
    assert!(serves(&bench.say(&report)));
    let expected = [owner(0, 1), owner(1, 9), owner(0, 8), owner(0, 2), owner(1, 9), owner(1, 9)];
    assert_eq!(bench.record().owners, expected, "with an epoch above all that was seen");
    assert_eq!(bench.record().cluster, truth.cluster);
    assert_ne!(bench.group(1).uid, truth.groups[&GroupId(1)].uid);
    let plan = bench.say(&replacement(1, 0, 500));
    assert!(
        matches!(&plan, Plan::Bootstrap { bootstrap, .. } if bootstrap.shards.to_string() == "1 4-5"),
        "{plan:?}"
    );
}

#[test]
fn shards_that_no_group_owns_are_not_given_away() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    bench.say(&with(groups.leader(0, 0), |report| report.owned.truncate(1)));
    let Plan::Wait { reason } = bench.say(&groups.leader(1, 0)) else { panic!("made up an owner") };
    assert!(reason.contains("no group owns the shards 2 4"), "{reason}");
    assert_eq!(bench.record, None);
    assert!(serves(&bench.say(&groups.leader(0, 0))), "once they have turned up, the map is complete");
}

#[test]
fn of_two_claims_the_higher_epoch_counts_and_equal_ones_stop_everything() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    let claiming = |epoch| with(groups.leader(1, 0), |report| report.owned.push((ShardId(0), Epoch(epoch))));
    bench.say(&groups.leader(0, 0));
    let Plan::Wait { reason } = bench.say(&claiming(1)) else { panic!("took one of two equal claims") };
    assert!(reason.contains("both g0 and g1"), "{reason}");
    bench.say(&claiming(2));
    assert_eq!(bench.record().owners[0], owner(1, 2));
}

#[test]
fn replicas_of_two_clusters_stop_everything() {
    let (mut bench, truth) = lost();
    let stray = speaker(&Record { cluster: ClusterId(666), ..truth.clone() });
    let groups = speaker(&truth);
    bench.say(&stray.leader(0, 0));
    let Plan::Wait { reason } = bench.say(&groups.leader(1, 0)) else { panic!("mixed two clusters") };
    assert!(reason.contains("two clusters"), "{reason}");
    bench.silence();
    bench.say(&groups.leader(1, 0));
    assert!(serves(&bench.say(&groups.leader(0, 0))));
}

#[test]
fn replicas_that_have_just_started_do_not_count_as_empty() {
    let (mut bench, truth) = lost();
    let place = |group, n| Registration { held: Held::Place { cluster: truth.cluster }, ..empty(group, n) };
    for (group, n) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 0)] {
        assert!(waits(&bench.say(&place(group, n))));
    }
    let groups = speaker(&truth);
    bench.say(&groups.leader(0, 0));
    assert!(serves(&bench.say(&groups.leader(1, 0))));
    assert_eq!(bench.record().cluster, truth.cluster);
}

#[test]
fn a_member_that_has_not_begun_is_not_kept_from_its_group() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    // The other member is gone: without this one there is no leader that could report.
    assert!(waits(&bench.say(&groups.data(0, 0))));
    let decision = bench.decide(&empty(0, 1)).unwrap();
    let joins = Plan::Join { uid: truth.groups[&GroupId(0)].uid, incarnation: Incarnation(0) };
    assert_eq!((decision.plan, decision.cluster), (joins, Some(truth.cluster)));
    bench.silence();
    bench.say(&groups.data(0, 0));
    assert!(waits(&bench.say(&replacement(0, 1, 77))), "only with its own id");
}

#[test]
fn a_record_older_than_what_a_group_obeyed_is_rebuilt() {
    let (_, old) = lost();
    let mut bench = speaker(&old);
    let later = speaker(&old);
    let obeying = |registration| with(registration, |report| report.obeyed = MapRevision(9));
    assert!(waits(&bench.say(&obeying(later.data(0, 1)))));
    assert!(waits(&bench.say(&replacement(0, 2, 77))), "no plan is given out meanwhile");
    assert!(waits(&bench.say(&obeying(later.leader(0, 0)))));
    assert_eq!(bench.record(), &old);
    assert!(serves(&bench.say(&obeying(later.leader(1, 0)))));
    assert_eq!(bench.record().revision, MapRevision(10));
    assert_eq!((bench.record().cluster, &bench.record().owners), (old.cluster, &old.owners));
    assert_eq!(bench.record().history, old.history);
    bench.now += Duration::from_secs(1);
    assert!(matches!(bench.say(&replacement(0, 2, 77)), Plan::Join { .. }));
    assert_eq!(bench.record().revision, MapRevision(11));
}

#[test]
fn a_record_with_older_epochs_follows_the_groups_and_keeps_its_history() {
    let (_, old) = lost();
    let mut bench = speaker(&old);
    let later = speaker(&old);
    let gave = with(later.leader(0, 0), |report| report.owned.retain(|(shard, _)| *shard != ShardId(0)));
    let got = with(later.leader(1, 0), |report| report.owned.push((ShardId(0), Epoch(2))));
    assert!(serves(&bench.say(&gave)), "nothing new in that");
    assert!(serves(&bench.say(&got)));
    assert_eq!(bench.record().owners[0], owner(1, 2));
    assert_eq!(bench.record().history.newest_number(), 2);
    assert_eq!(bench.record().history.get(1), Some(old.history.newest()));
    assert_eq!(bench.writes, [Event::Rebuilt]);
}

#[test]
fn a_record_without_a_group_that_exists_is_rebuilt() {
    let (_, truth) = lost();
    let groups = speaker(&truth);
    let mut old = truth.clone();
    old.groups.remove(&GroupId(1));
    old.owners = vec![owner(0, 1); 6];
    let mut bench = speaker(&old);
    assert!(waits(&bench.say(&groups.leader(1, 0))));
    assert!(serves(&bench.say(&groups.leader(0, 0))));
    assert_eq!(bench.record().owners, truth.owners);
    assert_eq!(bench.group(1).uid, truth.groups[&GroupId(1)].uid);
}
