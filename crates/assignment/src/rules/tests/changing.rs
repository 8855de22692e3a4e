//! Groups join and leave, shards are pinned, and the groups report the shards that have arrived.

use skv_sharding::PlanError;

use super::*;
use crate::record::PlannedMove;
use crate::rules::{Change, ChangeRefusal};

const G0: GroupId = GroupId(0);
const G1: GroupId = GroupId(1);
const G2: GroupId = GroupId(2);

/// Returns two groups with three shards each, and a third that hasn't joined.
pub(super) fn three_groups() -> Bench {
    let mut bench = Bench::new();
    bench.found();
    assert!(waits(&bench.say(&empty(2, 0))) && waits(&bench.say(&empty(2, 1))));
    assert!(matches!(bench.say(&empty(2, 2)), Plan::Bootstrap { .. }));
    bench
}

pub(super) fn change(bench: &mut Bench, change: &Change) -> u64 {
    ask(bench, "", change).unwrap()
}

fn ask(bench: &mut Bench, request_id: &str, change: &Change) -> Result<u64, ChangeRefusal> {
    bench.heard.notice_pause(bench.now);
    let changed = crate::rules::change(&bench.settings, bench.record(), &bench.heard, request_id, change)?;
    if let Some(record) = changed.record {
        assert_eq!(record.revision.0, bench.record().revision.0 + 1);
        bench.heard.saw(&record);
        bench.record = Some(record);
    }
    Ok(changed.configuration)
}

/// Returns the shards that a group is ordered to hand over, each with its target.
fn list(bench: &mut Bench, group: u32) -> Vec<(u32, u64, GroupId)> {
    match bench.say(&bench.leader(group, 0)) {
        Plan::Serve { moves, .. } => {
            let uid = |group: &GroupId| bench.record().groups[group].uid;
            assert!(moves.iter().all(|(_, planned, target)| uid(&planned.to) == *target));
            moves.into_iter().map(|(shard, planned, _)| (shard.0, planned.epoch.0, planned.to)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Reports as a leader that these shards of its group have come, beside those that the record knows.
pub(super) fn arrive(bench: &mut Bench, group: u32, arrived: &[(u32, u64)]) {
    let report = with(bench.leader(group, 0), |report| {
        report.owned.extend(arrived.iter().map(|&(shard, epoch)| (ShardId(shard), Epoch(epoch))));
    });
    bench.say(&report);
}

fn owners(bench: &Bench) -> Vec<u32> {
    bench.record().owners.iter().map(|owner| owner.group.0).collect()
}

#[test]
fn a_later_group_begins_without_shards_and_joins_when_it_is_asked_to() {
    let mut bench = three_groups();
    assert_eq!(owners(&bench), [0, 1, 0, 1, 0, 1]);
    assert!(bench.group(2).bootstrap.as_ref().unwrap().shards.iter().next().is_none());
    assert_eq!(bench.record().history.newest().groups, [G0, G1]);
    assert_eq!(change(&mut bench, &Change::Join(vec![G2])), 2);
    assert_eq!(bench.record().history.newest().groups, [G0, G1, G2]);
    assert_eq!(owners(&bench), [0, 1, 0, 1, 0, 1], "the groups move the shards, not the record");
    assert_eq!((list(&mut bench, 0), list(&mut bench, 1)), (vec![(4, 2, G2)], vec![(5, 3, G2)]));
    assert_eq!(list(&mut bench, 2), []);

    arrive(&mut bench, 2, &[(4, 2)]);
    assert_eq!(owners(&bench), [0, 1, 0, 1, 2, 1]);
    assert_eq!((list(&mut bench, 0), list(&mut bench, 1)), (vec![], vec![(5, 3, G2)]));
    arrive(&mut bench, 2, &[(5, 3)]);
    assert_eq!(bench.record().moves.len(), 0);
    assert_eq!(change(&mut bench, &Change::Join(vec![G2])), 2, "it has joined already");
}

/// The target was told that the move is over, by a source that was revived without it.
#[test]
fn a_move_whose_target_has_passed_its_epoch_gets_a_higher_one() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    assert_eq!(list(&mut bench, 0), [(4, 2, G2)]);
    let refused = |bench: &Bench, passed: &[(u32, u64)]| {
        with(bench.leader(0, 0), |report| {
            report.passed = passed.iter().map(|&(shard, epoch)| (ShardId(shard), Epoch(epoch))).collect();
        })
    };
    bench.say(&with(refused(&bench, &[(4, 2)]), |report| report.confirmed = false));
    assert_eq!(list(&mut bench, 0), [(4, 2, G2)], "only a leader says so");
    bench.say(&refused(&bench, &[(4, 2)]));
    assert_eq!((list(&mut bench, 0), list(&mut bench, 1)), (vec![(4, 4, G2)], vec![(5, 3, G2)]));
    let record = bench.record().clone();
    // What it said before, what other groups do, and what doesn't move.
    bench.say(&refused(&bench, &[(4, 2), (5, 3), (0, 1)]));
    assert_eq!(bench.record(), &record);
    arrive(&mut bench, 2, &[(4, 4)]);
    bench.say(&refused(&bench, &[(4, 4)]));
    assert_eq!(list(&mut bench, 0), [], "it has arrived");
}

#[test]
fn an_old_word_about_a_shard_changes_nothing() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    let before = bench.leader(0, 0);
    arrive(&mut bench, 2, &[(4, 2)]);
    let record = bench.record().clone();
    bench.say(&before);
    assert_eq!(bench.record(), &record);
    // A new report about another shard changes nothing either.
    change(&mut bench, &Change::Move(ShardId(1), G0));
    let epoch = bench.record().moves[&ShardId(1)].epoch.0;
    arrive(&mut bench, 0, &[(1, epoch), (4, 1)]);
    assert_eq!((owners(&bench)[1], owners(&bench)[4]), (0, 2));
}

#[test]
fn a_group_that_leaves_gives_all_away_and_stays() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Leave(vec![G1]));
    assert_eq!(list(&mut bench, 1), [(1, 2, G0), (3, 3, G0), (5, 4, G0)]);
    arrive(&mut bench, 0, &[(1, 2), (3, 3), (5, 4)]);
    assert_eq!(owners(&bench), [0; 6]);
    assert!(bench.record().groups[&G1].drained, "there for a Join");
    let refused = ask(&mut bench, "", &Change::Leave(vec![G0])).unwrap_err();
    assert_eq!(refused, ChangeRefusal::Plan(PlanError::NoGroups { shards: 6 }));
    assert_eq!(change(&mut bench, &Change::Join(vec![G1])), 3);
    assert!(!bench.record().groups[&G1].drained);
    change(&mut bench, &Change::Remove(vec![G1]));
    assert_eq!(bench.record().history.newest().groups, [G0]);
    assert!(!bench.record().groups[&G1].drained, "whoever removes it knows what he wants");
}

#[test]
fn a_redirect_has_a_higher_epoch_and_one_that_came_too_late_is_made_up_for() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    change(&mut bench, &Change::Move(ShardId(4), G1));
    let planned = bench.record().moves[&ShardId(4)];
    assert_eq!((planned.to, planned.epoch > Epoch(3)), (G1, true));
    // The source had frozen the shard before it heard of that.
    arrive(&mut bench, 2, &[(4, 2)]);
    assert_eq!(owners(&bench)[4], 2);
    assert_eq!(bench.record().moves[&ShardId(4)], planned, "it goes on from there");
    let from_there = list(&mut bench, 2);
    assert!(from_there.contains(&(4, planned.epoch.0, G1)), "{from_there:?}");
}

#[test]
fn a_move_that_is_taken_back_is_over_when_its_source_says_so() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Move(ShardId(0), G1));
    let first = bench.record().moves[&ShardId(0)];
    let asked = Change::Move(ShardId(0), G0);
    let taken_back =
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "a", &asked).unwrap();
    assert!(taken_back.moves.is_empty(), "it is where it is wanted: {:?}", taken_back.moves);
    change(&mut bench, &asked);
    let stays = bench.record().moves[&ShardId(0)];
    assert!(stays.to == G0 && stays.epoch > first.epoch, "{stays:?}");
    assert!(list(&mut bench, 0).contains(&(0, stays.epoch.0, G0)));
    let mut other = three_groups();
    other.record.clone_from(&bench.record);
    // The shard goes there and back once more: the first report doesn't count for the second time.
    change(&mut bench, &Change::Move(ShardId(0), G1));
    change(&mut bench, &asked);
    arrive(&mut bench, 0, &[(0, stays.epoch.0)]);
    let stays_again = bench.record().moves[&ShardId(0)];
    assert!(stays_again.to == G0 && stays_again.epoch > stays.epoch, "{stays_again:?}");
    arrive(&mut bench, 0, &[(0, stays_again.epoch.0)]);
    assert!(!bench.record().moves.contains_key(&ShardId(0)));
    change(&mut bench, &Change::Move(ShardId(0), G1));
    assert!(bench.record().moves[&ShardId(0)].epoch > stays_again.epoch, "no epoch is given again");
    // The source had frozen the shard before it heard of that: the shard comes back.
    arrive(&mut other, 1, &[(0, first.epoch.0)]);
    assert_eq!((owners(&other)[0], other.record().moves[&ShardId(0)]), (1, stays));
    assert!(list(&mut other, 1).contains(&(0, stays.epoch.0, G0)));
}

#[test]
fn a_pin_lasts_until_it_is_taken_back_or_its_group_leaves() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Move(ShardId(0), G1));
    change(&mut bench, &Change::Join(vec![G2]));
    let goal = |bench: &Bench| bench.record().history.newest().owners;
    assert_eq!(goal(&bench)[0], G1);
    change(&mut bench, &Change::Leave(vec![G1]));
    assert_ne!(goal(&bench)[0], G1);
    assert!(bench.record().pins.is_empty());
    change(&mut bench, &Change::Move(ShardId(1), G2));
    change(&mut bench, &Change::Unpin(ShardId(1)));
    assert!(bench.record().pins.is_empty());
}

/// Has a leader register again and again, until all groups had the time to do so.
fn listen(bench: &mut Bench) {
    for _ in 0..=ALIVE.as_secs() {
        bench.now += Duration::from_secs(1);
        bench.say(&bench.leader(0, 0));
    }
}

#[test]
fn a_manager_that_was_cut_off_gives_all_the_time_to_register_again() {
    let mut bench = three_groups();
    let join = Change::Join(vec![GroupId(9)]);
    listen(&mut bench);
    assert_eq!(ask(&mut bench, "", &join), Err(ChangeRefusal::UnknownGroup(GroupId(9))));
    bench.silence();
    assert_eq!(ask(&mut bench, "", &join), Err(ChangeRefusal::Unheard(GroupId(9))));
    bench.say(&bench.leader(0, 0));
    assert_eq!(ask(&mut bench, "", &join), Err(ChangeRefusal::Unheard(GroupId(9))));
    listen(&mut bench);
    assert_eq!(ask(&mut bench, "", &join), Err(ChangeRefusal::UnknownGroup(GroupId(9))));
}

#[test]
fn what_can_not_be_changed_is_refused_and_changes_nothing() {
    let mut bench = three_groups();
    listen(&mut bench);
    let before = bench.record().clone();
    for (asked, refusal) in [
        (Change::Join(vec![G2, GroupId(9)]), ChangeRefusal::UnknownGroup(GroupId(9))),
        (Change::Leave(vec![GroupId(9)]), ChangeRefusal::UnknownGroup(GroupId(9))),
        (Change::Move(ShardId(0), G2), ChangeRefusal::NotJoined(G2)),
        (Change::Move(ShardId(0), GroupId(9)), ChangeRefusal::UnknownGroup(GroupId(9))),
        (Change::Move(ShardId(6), G0), ChangeRefusal::NoSuchShard(ShardId(6), 6)),
        (Change::Unpin(ShardId(6)), ChangeRefusal::NoSuchShard(ShardId(6), 6)),
    ] {
        assert_eq!(ask(&mut bench, "", &asked), Err(refusal));
        assert_eq!(bench.record(), &before);
    }
}

#[test]
fn a_request_is_carried_out_once() {
    let mut bench = three_groups();
    let join = Change::Join(vec![G2]);
    assert_eq!(ask(&mut bench, "a", &join), Ok(2));
    change(&mut bench, &Change::Leave(vec![G2]));
    let record = bench.record().clone();
    assert_eq!(ask(&mut bench, "a", &join), Ok(2), "its answer came late, and it was sent again");
    assert_eq!(bench.record(), &record);
}

#[test]
fn a_lost_record_is_rebuilt_as_the_shards_are_now_with_epochs_that_nobody_knows() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    arrive(&mut bench, 2, &[(4, 2)]);
    let reports: Vec<Registration> = (0..3).map(|group| bench.leader(group, 0)).collect();
    // The source of shard 5 has begun with it.
    let seen = |report: &mut Report| report.epoch = Epoch(3);
    let reports: Vec<Registration> =
        reports.into_iter().map(|r| if r.group == G1 { with(r, seen) } else { r }).collect();
    bench.record = None;
    bench.silence();
    for report in &reports {
        bench.say(report);
    }
    assert_eq!(owners(&bench), [0, 1, 0, 1, 2, 1]);
    assert_eq!(bench.record().history.newest().groups, [G0, G1, G2]);
    let planned: Vec<PlannedMove> = bench.record().moves.values().copied().collect();
    assert!(matches!(planned[..], [PlannedMove { to: G2, epoch }] if epoch > Epoch(3)), "{planned:?}");
    change(&mut bench, &Change::Move(ShardId(0), G2));
    assert!(bench.record().moves[&ShardId(0)].epoch > Epoch(3));
}

#[test]
fn a_record_from_an_old_copy_is_found_out_by_the_epochs() {
    let mut bench = three_groups();
    let copy = bench.record().clone();
    change(&mut bench, &Change::Join(vec![G2]));
    arrive(&mut bench, 2, &[(4, 2), (5, 3)]);
    // No group has obeyed a map revision that would prove it.
    let unrevised = |report: &mut Report| report.obeyed_revision = MapRevision(0);
    let reports: Vec<Registration> = (0..3).map(|group| with(bench.leader(group, 0), unrevised)).collect();
    let now = owners(&bench);
    bench.record = Some(copy);
    for report in &reports {
        bench.say(report);
    }
    assert_eq!(owners(&bench), now);
    assert!(bench.writes.contains(&Event::Rebuilt));
}

#[test]
fn a_move_names_a_group_that_exists() {
    let mut record = three_groups().record().clone();
    record.check().unwrap();
    record.moves.insert(ShardId(0), PlannedMove { to: GroupId(9), epoch: Epoch(9) });
    assert!(record.check().is_err());
}

#[test]
fn a_rehearsal_says_what_would_move_and_rebalancing_what_is_even_moves_nothing() {
    let mut bench = three_groups();
    let rehearsed =
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "a", &Change::Join(vec![G2]))
            .unwrap();
    assert_eq!(rehearsed.configuration, 2);
    let pairs = rehearsed.moves.iter().map(|m| (m.shard.0, m.source, m.target));
    assert_eq!(pairs.collect::<Vec<_>>(), [(4, G0, G2), (5, G1, G2)]);
    let even =
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "b", &Change::Rebalance).unwrap();
    assert_eq!((even.configuration, even.moves.len()), (1, 0));
    // The request comes again while the move goes on: it returns the rest of the move.
    ask(&mut bench, "a", &Change::Join(vec![G2])).unwrap();
    arrive(&mut bench, 2, &[(4, 2)]);
    let again =
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "a", &Change::Join(vec![G2]))
            .unwrap();
    assert_eq!((again.record, again.moves.len()), (None, 1));
}

#[test]
fn a_move_that_is_pending_keeps_its_epoch_when_something_else_is_changed() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    let planned = bench.record().moves[&ShardId(4)];
    change(&mut bench, &Change::Move(ShardId(0), G1));
    assert_eq!(bench.record().moves[&ShardId(4)], planned, "its group would copy it again");
}

#[test]
fn what_was_redirected_away_and_back_is_there_when_it_arrives_under_its_old_epoch() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    change(&mut bench, &Change::Move(ShardId(4), G1));
    change(&mut bench, &Change::Move(ShardId(4), G2));
    assert!(bench.record().moves[&ShardId(4)].epoch > Epoch(2));
    arrive(&mut bench, 2, &[(4, 2)]);
    assert!(!bench.record().moves.contains_key(&ShardId(4)), "{:?}", bench.record().moves);
}

#[test]
fn pins_that_end_with_their_group_are_told() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Move(ShardId(0), G1));
    change(&mut bench, &Change::Move(ShardId(1), G0));
    let removed =
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "", &Change::Remove(vec![G1]))
            .unwrap();
    assert_eq!(removed.dropped_pins, [(ShardId(0), G1)]);
    assert_eq!(removed.record.unwrap().pins, [(ShardId(1), G0)].into());
    let unpinned =
        crate::rules::change(&bench.settings, bench.record(), &bench.heard, "", &Change::Unpin(ShardId(1)))
            .unwrap();
    assert_eq!(unpinned.dropped_pins, [], "that was asked for");
}

#[test]
fn a_ring_stays_as_it_was_made() {
    let mut bench = three_groups();
    bench.settings.ring = true;
    let all = [
        Change::Join(vec![G2]),
        Change::Leave(vec![G1]),
        Change::Remove(vec![G1]),
        Change::Move(ShardId(0), G1),
        Change::Unpin(ShardId(0)),
        Change::Rebalance,
    ];
    for asked in all {
        assert_eq!(ask(&mut bench, "", &asked), Err(ChangeRefusal::Ring), "{asked:?}");
    }
}

#[test]
fn a_group_that_was_revived_without_a_drop_hands_the_shard_over_again() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![G2]));
    arrive(&mut bench, 2, &[(4, 2), (5, 3)]);
    assert_eq!(list(&mut bench, 0), []);
    let revived = with(bench.leader(0, 0), |report| report.owned.push((ShardId(4), Epoch(1))));
    let Plan::Serve { moves, .. } = bench.say(&revived) else { panic!("it is a member") };
    let uid = bench.record().groups[&G2].uid;
    assert_eq!(moves, [(ShardId(4), PlannedMove { to: G2, epoch: Epoch(2) }, uid)]);
    assert_eq!(owners(&bench)[4], 2);
}

#[test]
fn what_has_arrived_where_nobody_meant_it_to_goes_where_it_is_wanted() {
    let mut bench = three_groups();
    change(&mut bench, &Change::Move(ShardId(0), G1));
    let planned = bench.record().moves[&ShardId(0)];
    // Another record of this cluster, lost since, gave the same epoch to another move.
    arrive(&mut bench, 2, &[(0, planned.epoch.0)]);
    let goes_on = bench.record().moves[&ShardId(0)];
    assert_eq!((owners(&bench)[0], goes_on.to), (2, G1));
    assert!(goes_on.epoch > planned.epoch);
}
