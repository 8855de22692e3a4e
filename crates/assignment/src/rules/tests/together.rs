//! Registrations that come together are decided on as if each had come alone, and written once.

use super::changing::{change, three_groups};
use super::*;
use crate::rules::{Batch, Change, register_all};

/// Returns a third group that receives shards 4 and 5, under the epochs 2 and 3.
fn receiving() -> Bench {
    let mut bench = three_groups();
    change(&mut bench, &Change::Join(vec![GroupId(2)]));
    bench.say(&bench.leader(2, 0));
    bench
}

/// Returns the reports of the receiving group's leader, as the shards arrive.
fn arrivals(bench: &Bench) -> [Registration; 2] {
    let with_shards = |arrived: &[(u32, u64)]| {
        with(bench.leader(2, 0), |report| {
            report.owned.extend(arrived.iter().map(|&(shard, epoch)| (ShardId(shard), Epoch(epoch))));
        })
    };
    [with_shards(&[(4, 2)]), with_shards(&[(4, 2), (5, 3)])]
}

fn decide_together(bench: &mut Bench, registrations: &[Registration]) -> Batch {
    let Bench { settings, record, heard, now, .. } = bench;
    register_all(settings, record.as_ref(), heard, registrations, *now, &mut || 5000)
}

#[test]
fn arrivals_that_are_reported_together_make_one_record() {
    let (mut one_by_one, mut together) = (receiving(), receiving());
    let mut reports = arrivals(&together).to_vec();
    reports.insert(1, together.data(1, 1));
    let batch = decide_together(&mut together, &reports);
    let seen = one_by_one.writes.len();
    let decisions: Vec<_> = reports.iter().map(|report| one_by_one.decide(report)).collect();
    assert_eq!(batch.record.as_ref(), Some(one_by_one.record()));
    assert_eq!(batch.events, one_by_one.writes[seen..]);
    assert_eq!(batch.events, [Event::Arrived(GroupId(2), 1), Event::Arrived(GroupId(2), 1)]);
    assert_eq!(batch.decisions, decisions);
    assert!(!batch.needs_no_store(), "there is a record to store");
}

#[test]
fn a_plan_that_needs_no_write_needs_no_store_and_a_wait_does() {
    let mut bench = receiving();
    let serves = bench.data(1, 1);
    assert!(decide_together(&mut bench, std::slice::from_ref(&serves)).needs_no_store());
    let waits = empty(3, 0);
    let batch = decide_together(&mut bench, &[serves, waits]);
    assert!(batch.record.is_none() && !batch.needs_no_store(), "{batch:?}");
}

/// The memory of registrations depends on the groups that there are.
#[test]
fn after_a_change_of_the_groups_the_others_wait_until_it_is_stored() {
    let mut bench = three_groups();
    assert!(waits(&bench.say(&empty(3, 0))) && waits(&bench.say(&empty(3, 1))));
    let (founds, later) = (empty(3, 2), bench.data(0, 1));
    let batch = decide_together(&mut bench, &[later.clone(), founds, later.clone(), later]);
    assert_eq!(batch.events, [Event::NewGroup(GroupId(3))]);
    assert_eq!(batch.decisions.len(), 2);
}
