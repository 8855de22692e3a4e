//! Registrations while the record is there.

use super::*;
use crate::rules::Leader;

#[test]
fn nothing_is_given_out_before_all_replicas_of_all_groups_have_registered() {
    let mut bench = Bench::new();
    for (group, n) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)] {
        assert!(waits(&bench.say(&empty(group, n))));
    }
    let Plan::Wait { reason } = bench.say(&empty(0, 0)) else { panic!("founded too early") };
    assert!(reason.contains("g1 has 2 of 3 replicas"), "{reason}");
    assert_eq!(bench.record, None);
    assert!(matches!(bench.say(&empty(1, 2)), Plan::Bootstrap { .. }));
}

#[test]
fn a_replica_that_fell_silent_does_not_count_among_the_first() {
    let mut bench = Bench::new();
    bench.say(&empty(0, 0));
    bench.silence();
    for (group, n) in [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        assert!(waits(&bench.say(&empty(group, n))));
    }
    assert!(matches!(bench.say(&empty(0, 0)), Plan::Bootstrap { .. }));
}

#[test]
fn the_first_configuration_is_round_robin_over_all_groups() {
    let mut bench = Bench::new();
    bench.found();
    let record = bench.record();
    let groups: Vec<u32> = record.owners.iter().map(|owner| owner.group.0).collect();
    assert_eq!(groups, [0, 1, 0, 1, 0, 1]);
    assert!(record.owners.iter().all(|owner| owner.epoch == Epoch(1)));
    assert_eq!((record.revision, record.history.newest_number()), (MapRevision(1), 1));
    assert_eq!(record.history.get(0), Some(skv_sharding::Configuration::default()));
    assert_eq!(record.check(), Ok(()));
    assert_eq!(bench.writes, [Event::Founded]);
}

#[test]
fn every_first_member_gets_the_same_order_as_often_as_it_asks() {
    let mut bench = Bench::new();
    bench.found();
    let first = bench.say(&empty(0, 0));
    let Plan::Bootstrap { uid, bootstrap, limits } = &first else { panic!("{first:?}") };
    assert_eq!((*uid, *limits), (bench.group(0).uid, LIMITS));
    assert_eq!(bootstrap.members, [member(0, 0), member(0, 1), member(0, 2)]);
    assert_eq!(bootstrap.shards.to_string(), "0-4/2");
    bench.silence();
    for n in [0, 1, 2, 0] {
        assert_eq!(bench.say(&empty(0, n)), first);
    }
    assert_eq!(bench.writes, [Event::Founded]);
}

#[test]
fn a_first_member_that_dies_before_it_began_blocks_nobody() {
    let mut bench = Bench::new();
    bench.found();
    bench.silence();
    let uid = bench.group(0).uid;
    let joins = Plan::Join { uid, incarnation: Incarnation(0) };
    assert_eq!(bench.say(&replacement(0, 0, 77)), joins, "its successor is no first member");
    assert!(matches!(bench.say(&empty(0, 1)), Plan::Bootstrap { .. }));
}

#[test]
fn a_first_member_that_was_replaced_before_it_began_founds_nothing() {
    let mut bench = Bench::new();
    bench.found();
    let replaced = with(bench.leader(0, 0), |report| report.members[2] = replacement(0, 2, 77).replica);
    bench.say(&replaced);
    bench.silence();
    assert!(matches!(bench.say(&empty(0, 2)), Plan::Join { .. }));
    assert!(
        matches!(bench.say(&empty(0, 1)), Plan::Bootstrap { .. }),
        "who is still a member begins as it was told"
    );
}

#[test]
fn a_replacement_waits_for_the_name_then_for_the_leader_and_becomes_a_member() {
    let mut bench = Bench::new();
    bench.found();
    bench.say(&bench.data(0, 2));
    let new = replacement(0, 2, 77);
    let refusal = bench.refuse(&new);
    assert!(matches!(&refusal, Refusal::NameHeld { holder: ReplicaId(3), .. }), "{refusal}");

    bench.silence();
    assert!(matches!(bench.say(&new), Plan::Join { .. }));
    let revision = bench.record().revision;
    assert_eq!(
        bench.say(&bench.leader(0, 0)),
        Plan::Serve { candidates: vec![new.replica.clone()], moves: Vec::new() }
    );
    assert_eq!(bench.record().shard_map().groups[&GroupId(0)].replicas[2], member(0, 2), "not a member yet");

    let admitted = with(bench.leader(0, 0), |report| {
        report.members.retain(|m| m.id != ReplicaId(3));
        // A leader knows names, not addresses.
        let (client_address, peer_address, instance) = Default::default();
        report.members.push(Replica { client_address, peer_address, instance, ..new.replica.clone() });
    });
    assert_eq!(bench.say(&admitted), Plan::Serve { candidates: Vec::new(), moves: Vec::new() });
    assert_eq!(bench.record().shard_map().groups[&GroupId(0)].replicas[2], new.replica);
    assert_eq!(bench.record().revision, MapRevision(revision.0 + 1));
}

#[test]
fn a_newer_replacement_takes_the_place_of_an_older_one() {
    let mut bench = Bench::new();
    bench.found();
    bench.silence();
    bench.say(&replacement(0, 2, 77));
    bench.silence();
    bench.say(&replacement(0, 2, 78));
    assert_eq!(bench.group(0).candidates, [replacement(0, 2, 78).replica]);
}

#[test]
fn a_member_that_returns_needs_no_replacement() {
    let mut bench = Bench::new();
    bench.found();
    bench.silence();
    bench.say(&replacement(0, 2, 77));
    // A member with data is served even while the other is alive, which can't keep it out.
    assert!(serves(&bench.say(&bench.data(0, 2))));
    assert_eq!(bench.group(0).candidates, []);
    assert!(matches!(bench.refuse(&replacement(0, 2, 77)), Refusal::NameHeld { .. }));
}

#[test]
fn a_steady_state_writes_nothing() {
    let mut bench = Bench::new();
    bench.found();
    let all = [bench.leader(0, 0), bench.data(0, 1), bench.data(0, 2), bench.leader(1, 2), bench.data(1, 0)];
    for registration in &all {
        assert!(serves(&bench.say(registration)));
    }
    let (record, writes) = (bench.record.clone(), bench.writes.len());
    for _ in 0..10 {
        bench.now += Duration::from_secs(2);
        for registration in &all {
            assert!(serves(&bench.say(registration)));
        }
    }
    assert_eq!((bench.record.clone(), bench.writes.len()), (record, writes));
}

#[test]
fn a_leader_that_reports_the_members_in_another_order_changes_nothing() {
    let mut bench = Bench::new();
    bench.found();
    let before = bench.record().clone();
    let reversed = |bench: &Bench, group| with(bench.leader(group, 0), |report| report.members.reverse());
    assert!(serves(&bench.say(&reversed(&bench, 0))));
    assert_eq!(bench.record(), &before);
    for group in [1, 0, 1] {
        assert!(serves(&bench.say(&reversed(&bench, group))));
        assert_eq!(bench.record(), &Record { revision: MapRevision(2), ..before.clone() });
    }
    assert_eq!(bench.writes, [Event::Founded, Event::Begun], "all groups have a leader");
    let one_less = with(bench.leader(0, 0), |report| drop(report.members.pop()));
    bench.say(&one_less);
    assert_eq!((bench.group(0).members.len(), bench.writes.last()), (2, Some(&Event::Members(GroupId(0)))));
}

#[test]
fn a_new_address_is_recorded() {
    let mut bench = Bench::new();
    bench.found();
    let mut moved = bench.data(1, 1);
    moved.replica.client_address = "elsewhere:5".into();
    bench.say(&moved);
    assert_eq!(bench.group(1).members[1].client_address, "elsewhere:5");
    assert_eq!(bench.record().revision, MapRevision(2));
    bench.say(&bench.leader(1, 0));
    assert_eq!(
        bench.group(1).members[1].client_address,
        "elsewhere:5",
        "a leader's report doesn't take it back"
    );
}

#[test]
fn who_belongs_elsewhere_is_sent_away() {
    let mut bench = Bench::new();
    bench.found();
    let before = bench.record.clone();

    let mut foreign = bench.data(0, 0);
    if let Held::Data { cluster, .. } = &mut foreign.held {
        *cluster = ClusterId(666);
    }
    assert!(matches!(bench.refuse(&foreign), Refusal::ForeignCluster { theirs: ClusterId(666), .. }));
    let foreign = with(bench.data(0, 0), |report| report.uid = GroupUid(666));
    assert!(matches!(bench.refuse(&foreign), Refusal::ForeignGroup { theirs: GroupUid(666), .. }));
    let other_shards = with(bench.data(0, 0), |report| report.shards = 7);
    assert!(matches!(
        bench.refuse(&other_shards),
        Refusal::OtherSharding { their_shards: 7, our_shards: 6, .. }
    ));
    let impossible = with(bench.data(0, 0), |report| report.owned.push((ShardId(6), Epoch(1))));
    assert!(matches!(bench.refuse(&impossible), Refusal::Malformed(_)));
    assert!(matches!(bench.refuse(&empty(4096, 0)), Refusal::UnknownGroup { groups: 2, .. }));
    assert!(matches!(Bench::new().refuse(&empty(2, 0)), Refusal::UnknownGroup { groups: 2, .. }));
    let fourth = Registration { replica: replica(9, "kv-g0-3"), ..empty(0, 0) };
    assert!(matches!(bench.refuse(&fourth), Refusal::TooManyServers { .. }));
    assert_eq!(bench.record, before);
}

#[test]
fn before_the_first_configuration_too_a_group_has_as_many_servers_as_replicas() {
    let mut bench = Bench::new();
    (0..3).for_each(|n| assert!(waits(&bench.say(&empty(0, n)))));
    let fourth = Registration { replica: replica(9, "kv-g0-3"), ..empty(0, 0) };
    assert!(matches!(bench.refuse(&fourth), Refusal::TooManyServers { .. }));
    bench.silence();
    assert!(waits(&bench.say(&fourth)), "names of the dead are free");
}

#[test]
fn two_living_replicas_never_share_a_name() {
    let mut bench = Bench::new();
    bench.say(&empty(0, 0));
    assert!(matches!(bench.refuse(&replacement(0, 0, 77)), Refusal::NameHeld { .. }));
    bench.silence();
    assert!(waits(&bench.say(&replacement(0, 0, 77))));
}

#[test]
fn a_successor_at_the_same_address_need_not_wait() {
    let mut bench = Bench::new();
    bench.found();
    bench.say(&bench.data(0, 2));
    let mut successor = replacement(0, 2, 77);
    successor.replica.peer_address = member(0, 2).peer_address;
    assert!(matches!(bench.say(&successor), Plan::Join { .. }));
}

#[test]
fn a_replica_that_has_a_place_but_no_data_yet_is_told_the_same_again() {
    let mut bench = Bench::new();
    bench.found();
    let place = |registration: &Registration, cluster| Registration {
        held: Held::Place { cluster },
        ..registration.clone()
    };
    let cluster = bench.record().cluster;
    let order = bench.say(&empty(0, 0));
    assert_eq!(bench.say(&place(&empty(0, 0), cluster)), order);
    let foreign = bench.refuse(&place(&empty(0, 0), ClusterId(666)));
    assert!(matches!(foreign, Refusal::ForeignCluster { .. }));
    bench.silence();
    let new = replacement(0, 1, 77);
    let joins = bench.say(&new);
    let before = bench.record.clone();
    assert_eq!(bench.say(&place(&new, cluster)), joins);
    assert_eq!(bench.record, before);
}

#[test]
fn a_deposed_leader_is_not_believed() {
    let mut bench = Bench::new();
    bench.found();
    let new = with(bench.leader(0, 1), |report| report.term = 5);
    bench.say(&new);
    let before = bench.record.clone();
    let old = with(bench.leader(0, 0), |report| {
        report.term = 4;
        report.members.truncate(1);
    });
    bench.say(&old);
    assert_eq!(bench.record, before);
    assert_eq!(
        bench.heard.leaders()[&GroupId(0)],
        Leader { id: ReplicaId(2), incarnation: Incarnation(0), term: 5 }
    );
}

#[test]
fn of_two_leaders_of_a_term_the_one_with_the_higher_id_counts() {
    let mut bench = Bench::new();
    bench.found();
    let of_term = |bench: &Bench, n| with(bench.leader(0, n), |report| report.term = 5);
    let known = |bench: &Bench| bench.heard.leaders()[&GroupId(0)].id;
    bench.say(&of_term(&bench, 0));
    assert_eq!(known(&bench), ReplicaId(1));
    // Its vote was greater: it has deposed the other one.
    bench.say(&of_term(&bench, 1));
    assert_eq!(known(&bench), ReplicaId(2));
    let before = bench.record.clone();
    bench.say(&with(of_term(&bench, 0), |report| report.members.truncate(1)));
    assert_eq!((bench.record.clone(), known(&bench)), (before, ReplicaId(2)), "it leads no more");
}

/// The two incarnations of a group that two people revived, each from another replica.
fn twins() -> [Incarnation; 2] {
    [Incarnation(0).next(7), Incarnation(0).next(99)]
}

/// Returns the registration of the replica that is one of the twins.
fn revived(bench: &Bench, twin: Incarnation) -> Registration {
    let n = u64::from(twin == twins()[1]);
    let new = replica(70 + n, &member(0, n).server);
    let report = Registration { replica: new.clone(), ..bench.data(0, n) };
    with(confirmed(report), |report| {
        report.lineage = Lineage::default().followed_by(Incarnation(0));
        (report.incarnation, report.members) = (twin, vec![new]);
    })
}

/// Neither knew of the other. The second one may return late, and have less than a group that lives.
#[test]
fn of_two_revivals_the_one_that_was_recorded_remains() {
    let [one, other] = twins();
    for [first, second] in [[one, other], [other, one]] {
        let mut bench = Bench::new();
        bench.found();
        bench.silence();
        assert!(serves(&bench.say(&revived(&bench, first))));
        let joins = Plan::Join { uid: bench.group(0).uid, incarnation: first };
        for _ in 0..2 {
            let before = bench.record.clone();
            assert_eq!(bench.say(&revived(&bench, second)), joins, "it begins again");
            assert_eq!(bench.record, before);
            assert_eq!(bench.heard.leaders()[&GroupId(0)].incarnation, first);
            assert!(serves(&bench.say(&revived(&bench, first))));
        }
    }
}

#[test]
fn a_twin_that_was_heard_before_the_other_one_was_recorded_counts_for_nothing() {
    let [lower, higher] = twins();
    let mut bench = Bench::new();
    bench.found();
    bench.silence();
    bench.say(&with(revived(&bench, higher), |report| report.confirmed = false));
    assert!(serves(&bench.say(&revived(&bench, lower))));
    assert_eq!(bench.group(0).incarnation, lower, "it was the first one that confirmed");
    assert!(bench.heard.leaders().get(&GroupId(0)).is_none_or(|leader| leader.incarnation == lower));
    bench.say(&revived(&bench, lower));
    assert_eq!(bench.heard.leaders()[&GroupId(0)].incarnation, lower);
}

/// Managers may have been away while the group was revived more than once.
#[test]
fn an_incarnation_whose_ancestor_is_recorded_is_the_group() {
    let mut bench = Bench::new();
    bench.found();
    let of = |bench: &Bench, incarnation, ancestors: &[u32]| {
        with(bench.leader(0, 0), |report| {
            report.incarnation = Incarnation(incarnation);
            report.lineage = Lineage::new(ancestors.iter().copied().map(Incarnation));
        })
    };
    for (incarnation, ancestors) in [(5, &[0][..]), (9, &[0, 5, 7]), (12, &[0, 5, 7, 9])] {
        assert!(serves(&bench.say(&of(&bench, incarnation, ancestors))));
        assert_eq!(bench.group(0).incarnation, Incarnation(incarnation));
    }
    let joins = Plan::Join { uid: bench.group(0).uid, incarnation: Incarnation(12) };
    assert_eq!(bench.say(&of(&bench, 20, &[0, 5, 7, 10])), joins);
    assert!(serves(&bench.say(&of(&bench, 21, &[]))), "an older version kept no lineage");
}

#[test]
fn an_incarnation_only_rises() {
    let mut bench = Bench::new();
    bench.found();
    let with_incarnation =
        |bench: &Bench, n| with(bench.leader(0, 0), |report| report.incarnation = Incarnation(n));
    bench.say(&with_incarnation(&bench, 1));
    assert_eq!(bench.group(0).incarnation, Incarnation(1));
    let joins = Plan::Join { uid: bench.group(0).uid, incarnation: Incarnation(1) };
    assert_eq!(bench.say(&with_incarnation(&bench, 0)), joins, "who is left of the old one starts again");
    assert_eq!((bench.group(0).incarnation, &bench.group(0).candidates), (Incarnation(1), &Vec::new()));
    bench.silence();
    assert_eq!(bench.say(&replacement(0, 1, 77)), joins);
}

#[test]
fn a_revived_group_counts_though_its_terms_are_lower() {
    let mut bench = Bench::new();
    bench.found();
    let old_leader = with(bench.leader(0, 0), |report| report.term = 12);
    let old_member = with(bench.data(0, 2), |report| (report.term, report.leader) = (12, Some(ReplicaId(1))));
    bench.say(&old_leader);
    bench.silence();

    let revived = replacement(0, 1, 77);
    let members = vec![revived.replica.clone()];
    let revived = Registration { replica: revived.replica, ..bench.data(0, 1) };
    let revived = with(confirmed(revived), |report| {
        (report.incarnation, report.term, report.members) = (Incarnation(1), 9, members);
    });
    // The outcome is the same whether or not the old ones are heard once more before.
    bench.say(&old_member);
    bench.say(&with(revived.clone(), |report| report.confirmed = false));
    let before = bench.record.clone();
    bench.say(&with(old_leader.clone(), |report| report.members.truncate(1)));
    assert_eq!(bench.record, before, "it is of the past");
    bench.say(&revived);
    assert_eq!(bench.group(0).incarnation, Incarnation(1));
    let leads = Leader { id: ReplicaId(77), incarnation: Incarnation(1), term: 9 };
    assert_eq!(bench.heard.leaders()[&GroupId(0)], leads);
    let joins = Plan::Join { uid: bench.group(0).uid, incarnation: Incarnation(1) };
    assert_eq!(bench.say(&old_member), joins);
    assert_eq!(bench.say(&old_leader), joins);

    // A registration of the old ones doesn't keep the new one from being heard.
    let admitted = with(revived, |report| report.members.push(replacement(0, 2, 78).replica));
    bench.say(&admitted);
    assert_eq!(bench.group(0).members.len(), 2);
    assert_eq!(bench.heard.leaders()[&GroupId(0)], leads);
}
