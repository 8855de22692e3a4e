//! A record that was lost, or put back from an older copy (invariant 7).

use super::*;
use crate::rules::{Change, ChangeRefusal};

/// Returns a cluster whose groups have data and whose manager has just started without a record.
fn lost() -> (Bench, Record) {
    let mut bench = Bench::new();
    bench.found();
    let record = bench.record.take().unwrap();
    (Bench::new(), record)
}

/// Returns a bench that can report for the groups of a record, though its own is another one.
fn speaker(record: &Record) -> Bench {
    Bench { record: Some(record.clone()), ..Bench::new() }
}

/// Returns a registration from a server whose copy of the map has this revision.
fn knowing(registration: Registration, revision: u64) -> Registration {
    Registration { map_revision: MapRevision(revision), ..registration }
}

/// Has all replicas register again and again, for longer than any of them counts as alive. Returns the
/// plan of the last one.
fn go_on(bench: &mut Bench, all: &[Registration]) -> Plan {
    let mut last = None;
    for _ in 0..=ALIVE.as_secs() {
        bench.now += Duration::from_secs(1);
        for registration in all {
            last = Some(bench.say(registration));
        }
    }
    last.unwrap()
}

fn groups(bench: &Bench) -> Vec<u32> {
    bench.record().groups.keys().map(|group| group.0).collect()
}

fn owner(group: u32, epoch: u64) -> Owner {
    Owner { group: GroupId(group), epoch: Epoch(epoch) }
}

#[test]
fn the_map_is_rebuilt_when_the_leaders_of_all_groups_have_reported() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    let obeying =
        |n, obeyed| with(groups.leader(n, 0), |report| report.obeyed_revision = MapRevision(obeyed));
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
    // All others of its group are empty too, but for one that registers last.
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
fn a_record_that_is_lost_amid_the_first_founding_is_made_again_for_those_who_have_not_begun() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    (0..3).for_each(|n| assert!(waits(&bench.say(&replacement(1, n, 500 + n)))));
    assert!(serves(&bench.say(&groups.leader(0, 0))));
    let expected = [owner(0, 1), owner(1, 2), owner(0, 1), owner(1, 2), owner(0, 1), owner(1, 2)];
    assert_eq!(bench.record().owners, expected, "with an epoch above all that was seen");
    assert_eq!(bench.record().cluster, truth.cluster);
    assert_ne!(bench.group(1).uid, truth.groups[&GroupId(1)].uid);
    let plan = bench.say(&replacement(1, 0, 500));
    assert!(
        matches!(&plan, Plan::Bootstrap { bootstrap, .. } if bootstrap.shards.to_string() == "1-5/2"),
        "{plan:?}"
    );
}

#[test]
fn what_nobody_owns_is_given_to_no_new_group_once_anything_has_moved() {
    let (_, truth) = lost();
    let groups = speaker(&truth);
    let leader = groups.leader(0, 0);
    for later in [
        knowing(leader.clone(), 2),
        with(leader.clone(), |report| report.obeyed_revision = MapRevision(2)),
        with(leader, |report| report.epoch = Epoch(2)),
    ] {
        let mut bench = Bench::new();
        (0..3).for_each(|n| assert!(waits(&bench.say(&replacement(1, n, 500 + n)))));
        assert!(waits(&go_on(&mut bench, &[later])), "they may be with a group that is down");
        assert_eq!(bench.record, None);
    }
}

#[test]
fn a_store_of_which_nothing_changed_since_its_groups_began_is_known_by_the_copies_of_its_map() {
    let mut bench = Bench::new();
    bench.found();
    for group in [0, 1] {
        assert!(serves(&bench.say(&bench.leader(group, 0))));
    }
    let truth = bench.record();
    let leader = knowing(speaker(truth).leader(0, 0), truth.revision.0);
    let leader = with(leader, |report| report.obeyed_revision = MapRevision(1));
    let mut bench = Bench::new();
    (0..3).for_each(|n| assert!(waits(&bench.say(&replacement(1, n, 500 + n)))));
    assert!(waits(&bench.say(&leader)), "the servers of the other group lost their disks");
    assert_eq!(bench.record, None);
}

#[test]
fn the_rebuilt_map_is_newer_than_every_copy_of_it() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    bench.say(&knowing(groups.data(0, 1), 70));
    bench.say(&groups.leader(0, 0));
    bench.say(&knowing(groups.leader(1, 0), 60));
    assert_eq!(
        bench.record().revision,
        MapRevision(71),
        "arrivals and addresses raise it, and nobody obeys those"
    );
    // This replica wasn't heard then, and wouldn't take a map that is older than its own.
    let late = knowing(groups.data(1, 2), 90);
    assert!(serves(&bench.say(&late)));
    assert_eq!(bench.record().revision, MapRevision(91));
}

#[test]
fn an_empty_replica_is_no_witness_of_a_map() {
    let (_, truth) = lost();
    let mut bench = speaker(&truth);
    bench.say(&knowing(empty(0, 0), 70));
    assert_eq!(bench.record().revision, truth.revision);
}

/// Returns a record in which groups 0 and 2 share the shards.
fn with_a_gap() -> (Record, Vec<Registration>) {
    let mut truth = lost().1;
    let second = truth.groups.remove(&GroupId(1)).unwrap();
    truth
        .groups
        .insert(GroupId(2), GroupRecord { members: (0..3).map(|n| member(2, n)).collect(), ..second });
    for owner in truth.owners.iter_mut().filter(|owner| owner.group == GroupId(1)) {
        owner.group = GroupId(2);
    }
    let leaders = [0, 2].map(|group| speaker(&truth).leader(group, 0)).to_vec();
    (truth, leaders)
}

#[test]
fn a_number_that_no_group_has_is_not_waited_for() {
    let (truth, leaders) = with_a_gap();
    let mut bench = Bench::new();
    for leader in &leaders {
        assert!(waits(&bench.say(leader)), "it may yet speak");
    }
    assert!(serves(&go_on(&mut bench, &leaders)));
    assert_eq!((groups(&bench), &bench.record().owners), (vec![0, 2], &truth.owners));
    // The same holds when a manager is about to make it.
    let mut bench = Bench::new();
    let all = [&leaders[..], &[empty(1, 0), leaders[0].clone()]].concat();
    assert!(serves(&go_on(&mut bench, &all)));
}

#[test]
fn the_lowest_number_may_be_the_one_that_no_group_has() {
    let mut truth = lost().1;
    let members = (0..3).map(|n| member(2, n)).collect();
    let third = GroupRecord::founded(GroupUid(77), members, ShardSet::default(), Epoch(1));
    truth.groups.insert(GroupId(2), third);
    truth.groups.remove(&GroupId(0));
    truth
        .owners
        .iter_mut()
        .filter(|owner| owner.group == GroupId(0))
        .for_each(|owner| owner.group = GroupId(2));
    let leaders = [1, 2].map(|group| speaker(&truth).leader(group, 0));
    let mut bench = Bench::new();
    bench.settings.groups = 1;
    assert!(serves(&go_on(&mut bench, &leaders)));
    assert_eq!((groups(&bench), &bench.record().owners), (vec![1, 2], &truth.owners));
}

#[test]
fn a_silent_group_that_has_what_nobody_else_has_is_waited_for() {
    let (truth, leaders) = with_a_gap();
    // The group has no number that is counted on.
    let mut bench = Bench::new();
    bench.settings.groups = 1;
    assert!(waits(&go_on(&mut bench, &leaders[..1])));
    // The group's replicas are there, but none leads: no report of others helps.
    let mut bench = Bench::new();
    let all =
        with(leaders[0].clone(), |report| report.owned = (0..6).map(|n| (ShardId(n), Epoch(1))).collect());
    assert!(waits(&go_on(&mut bench, &[all, speaker(&truth).data(2, 1)])));
    // An older copy of the record knows that the group got a shard later than the others claim it.
    let mut old = truth.clone();
    old.owners[1].epoch = Epoch(2);
    let mut bench = speaker(&old);
    let obeyed = |report: &mut Report| {
        report.obeyed_revision = MapRevision(9);
        report.owned = (0..6).map(|n| (ShardId(n), Epoch(1))).collect();
    };
    assert!(waits(&go_on(&mut bench, &[with(leaders[0].clone(), obeyed)])));
    assert_eq!(bench.record(), &old);
}

#[test]
fn an_older_record_with_a_group_that_is_gone_is_rebuilt_without_it() {
    let (_, mut old) = lost();
    old.pins.insert(ShardId(1), GroupId(1));
    let everything = |report: &mut Report| {
        report.obeyed_revision = MapRevision(9);
        report.owned = (0..6).map(|n| (ShardId(n), Epoch(1 + u64::from(n % 2)))).collect();
    };
    let leader = with(speaker(&old).leader(0, 0), everything);
    let mut bench = speaker(&old);
    assert!(waits(&bench.say(&leader)));
    assert!(serves(&go_on(&mut bench, std::slice::from_ref(&leader))));
    assert_eq!(groups(&bench), [0]);
    assert_eq!(bench.record().history.newest().groups, [GroupId(0)]);
    assert!(bench.record().pins.is_empty());

    // The group isn't gone: as soon as a replica of it registers, the record is found to be wrong.
    let back = speaker(&old).data(1, 0);
    assert!(waits(&bench.say(&back)));
    let refused = crate::rules::change(&bench.settings, bench.record(), &bench.heard, "", &Change::Rebalance);
    assert!(matches!(refused, Err(ChangeRefusal::Outdated(_))), "{refused:?}");
    let leads = with(confirmed(back), |report| report.owned.clear());
    go_on(&mut bench, &[leader.clone(), leads]);
    assert_eq!(groups(&bench), [0, 1]);
    assert_eq!(bench.group(1).uid, old.groups[&GroupId(1)].uid);

    // The same holds if servers are made for a new group of its number.
    let mut bench = speaker(&old);
    let new = [0, 1, 2].map(|n| replacement(1, n, 500 + n));
    let plan = go_on(&mut bench, &[&[leader][..], &new[..]].concat());
    assert!(matches!(plan, Plan::Bootstrap { .. }), "{plan:?}");
    assert_ne!(bench.group(1).uid, old.groups[&GroupId(1)].uid);
}

#[test]
fn a_group_that_had_no_time_to_register_is_not_refused_for_good() {
    let (_, truth) = lost();
    let everything = |report: &mut Report| report.owned = (0..6).map(|n| (ShardId(n), Epoch(1))).collect();
    let leader = with(speaker(&truth).leader(0, 0), everything);
    let join = |bench: &Bench| {
        let join = Change::Join(vec![GroupId(1)]);
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "", &join)
    };
    let mut bench = Bench::new();
    bench.settings.groups = 1;
    assert!(serves(&bench.say(&leader)));
    assert_eq!((groups(&bench), join(&bench)), (vec![0], Err(ChangeRefusal::Unheard(GroupId(1)))));
    bench.say(&with(speaker(&truth).leader(1, 0), |report| report.owned.clear()));
    assert!(join(&bench).is_ok());

    let mut bench = Bench::new();
    bench.settings.groups = 1;
    go_on(&mut bench, &[leader]);
    assert_eq!(join(&bench), Err(ChangeRefusal::UnknownGroup(GroupId(1))), "nobody belongs to it");
}

#[test]
fn a_record_that_is_lost_before_it_forgot_a_retired_group_is_rebuilt_without_it() {
    let (mut bench, truth) = lost();
    let groups_of = speaker(&truth);
    let everything = |report: &mut Report| report.owned = (0..6).map(|n| (ShardId(n), Epoch(2))).collect();
    let retired = with(groups_of.leader(1, 0), |report| {
        report.owned.clear();
        report.retired = true;
    });
    go_on(&mut bench, &[retired, with(groups_of.leader(0, 0), everything)]);
    assert_eq!(groups(&bench), [0]);
}

#[test]
fn a_change_of_an_older_record_is_refused_until_it_is_rebuilt() {
    let (_, old) = lost();
    let mut bench = speaker(&old);
    let leader = with(speaker(&old).leader(0, 0), |report| report.epoch = Epoch(3));
    bench.say(&leader);
    let ask = |bench: &Bench| {
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "", &Change::Rebalance)
    };
    let Err(ChangeRefusal::Outdated(why)) = ask(&bench) else { panic!("its epochs would be given again") };
    assert!(why.contains("epoch 3"), "{why}");
    bench.say(&speaker(&old).leader(1, 0));
    assert!(ask(&bench).is_ok());
}

#[test]
fn after_a_rebuild_the_shards_are_spread_as_before_it() {
    let (mut bench, mut truth) = lost();
    // The second group had but one shard, when the record was lost during its joining.
    for shard in [3, 5] {
        truth.owners[shard] = owner(0, 1);
    }
    let leaders = [0, 1].map(|group| speaker(&truth).leader(group, 0));
    bench.say(&leaders[0]);
    bench.say(&leaders[1]);
    let record = bench.record();
    assert_eq!(record.owners, truth.owners, "the groups move the shards, not the record");
    assert_eq!((record.moves.len(), record.history.newest_number()), (2, 2));
    for planned in record.moves.values() {
        assert!(planned.to == GroupId(1) && planned.epoch > Epoch(1), "{planned:?}");
    }
    let Plan::Serve { moves, .. } = bench.say(&leaders[0]) else { panic!("it has no list") };
    assert_eq!(moves.len(), 2);
}

#[test]
fn a_rebuild_keeps_what_the_policy_modulo_has_in_another_order_or_can_not_spread() {
    for owners in [[1, 0, 1, 0, 1, 0], [0, 1, 2, 3, 3, 3]] {
        let (mut bench, truth) = lost();
        (bench.settings.policy, bench.settings.groups) = (Policy::Modulo, 4);
        let mut record = truth.clone();
        record.groups = (0..4)
            .filter(|group| owners.contains(group))
            .map(|group| {
                let members = (0..3).map(|n| member(group, n)).collect();
                let uid = GroupUid(50 + u64::from(group));
                (GroupId(group), GroupRecord::founded(uid, members, ShardSet::default(), Epoch(1)))
            })
            .collect();
        record.owners = owners.iter().map(|&group| owner(group, 1)).collect();
        let leaders: Vec<Registration> =
            record.groups.keys().map(|group| speaker(&record).leader(group.0, 0)).collect();
        go_on(&mut bench, &leaders);
        assert_eq!((bench.record().moves.len(), &bench.record().owners), (0, &record.owners));
    }
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
    let obeying = |registration| with(registration, |report| report.obeyed_revision = MapRevision(9));
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
    let history = &bench.record().history;
    assert_eq!(history.newest_number(), 3, "as it was, as it is, and as it is to be");
    assert_eq!(history.get(1), Some(old.history.newest()));
    assert_eq!(history.get(2).unwrap().owners[0], GroupId(1));
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

#[test]
fn of_a_revived_group_only_the_newest_incarnation_speaks() {
    let (mut bench, truth) = lost();
    let groups = speaker(&truth);
    let old = with(groups.leader(0, 0), |report| report.term = 12);
    let revived = with(groups.leader(0, 2), |report| {
        (report.incarnation, report.term) = (Incarnation(1), 9);
        report.members.retain(|member| member.id == ReplicaId(3));
    });
    assert!(waits(&bench.say(&old)));
    assert!(waits(&bench.say(&revived)));
    assert!(waits(&bench.say(&empty(0, 1))), "it helps no old member to lead");
    assert!(serves(&bench.say(&groups.leader(1, 0))));
    assert_eq!((bench.group(0).incarnation, bench.group(0).members.len()), (Incarnation(1), 1));
}
