//! The memory that a store counts: it follows from what the store holds, and from nothing else.

use skv_memory::Budget;
use skv_proto::v1;
use skv_sharding::{ClusterId, MapRevision};
use skv_store::{Growth, Store, encode_batch, encode_found, encode_tick};

use crate::support::*;

const MIB: u64 = 1 << 20;

/// Returns a founded store, and what it is counted in.
fn counted() -> (Store, Budget) {
    let budget = Budget::new(None);
    let store = Store::within(budget.clone(), 1);
    let entry = encode_found(0, ClusterId(5), record(v1::Limits::default()), MapRevision(1)).unwrap();
    store.apply(&entry).unwrap();
    (store, budget)
}

fn fill(store: &Store, keys: usize, value: &str) {
    let keys = (0..).map(|i| format!("key{i}")).filter(|key| OWNED.contains(&shard(key).0)).take(keys);
    let commands = keys.map(|key| put(&key, value)).collect();
    store.apply_silently(&encode_batch(500, commands)).unwrap();
}

#[test]
fn what_is_deleted_or_dropped_is_counted_no_more() {
    let (store, budget) = counted();
    assert_eq!(budget.tally().bytes(), 0);
    fill(&store, 1000, &"v".repeat(2048));
    let full = budget.tally().bytes();
    assert!((2 * MIB..3 * MIB).contains(&full), "{full}");
    assert_eq!(store.memory(), full);
    fill(&store, 1000, "");
    assert!(budget.tally().bytes() < full / 10);
    let keys = (0..2000).map(|i| format!("key{i}")).filter(|key| OWNED.contains(&shard(key).0));
    store.apply_silently(&encode_batch(500, keys.map(|key| delete(&key)).collect())).unwrap();
    assert_eq!(budget.tally().bytes(), 0);

    fill(&store, 1000, "value");
    drop(store);
    assert_eq!(budget.tally().bytes(), 0);
}

#[test]
fn a_restored_state_counts_as_much_as_the_one_that_it_was_made_from() {
    let (store, budget) = counted();
    fill(&store, 1000, "value");
    for seq in 1..20 {
        apply(&store, 500, by((400, 7), seq, 1, append("a", "value"))).unwrap();
        apply(&store, 500, by((400, 8), 1, 1, put("b", "value"))).unwrap();
    }
    let memory = store.memory();
    let mut restore = store.begin_restore();
    store.view().into_items().for_each(|item| restore.add(item).unwrap());
    let restored = restore.finish().unwrap();
    assert_eq!(budget.tally().bytes(), 2 * memory, "both are there");
    drop(store.restore(restored));
    assert_eq!((store.memory(), budget.tally().bytes()), (memory, memory));
    drop(store.make_room());
    assert_eq!(budget.tally().bytes(), 0);
    assert!(store.facts().is_none());
}

#[test]
fn sessions_are_counted_with_their_answers_and_forgotten_ones_are_not() {
    let (store, budget) = counted();
    apply(&store, 500, put("a", &"v".repeat(100_000))).unwrap();
    let before = budget.tally().bytes();
    apply(&store, 500, by((400, 7), 1, 1, append("a", "!"))).unwrap();
    let with_old_value = budget.tally().bytes();
    assert!(with_old_value > before + 100_000, "{before} {with_old_value}");
    apply(&store, 500, by((400, 7), 2, 2, put("a", "v"))).unwrap();
    assert!(budget.tally().bytes() < before / 10);
    let before = budget.tally().bytes();
    for seq in 3..103 {
        apply(&store, 500, by((400, 7), seq, 2, put("a", "v"))).unwrap();
    }
    let open = budget.tally().bytes();
    assert!(open > before + 5000, "{before} {open}");
    store.apply_silently(&encode_tick(u64::MAX)).unwrap();
    assert!(budget.tally().bytes() < before);
}

#[test]
fn while_a_view_is_read_the_values_that_it_has_alone_are_counted() {
    let (store, budget) = counted();
    fill(&store, 1000, &"a".repeat(1024));
    let one = budget.tally().bytes();
    let view = store.view();
    assert_eq!((view.memory(), budget.tally().bytes()), (one, one));
    fill(&store, 1000, &"b".repeat(1024));
    let both = budget.tally().bytes();
    assert!(both > one + MIB, "{one} {both}");
    assert_eq!(store.memory(), one);
    let mut items = view.into_items();
    items.next().unwrap();
    assert_eq!(budget.tally().bytes(), both, "it is still read");
    drop(items);
    assert_eq!(budget.tally().bytes(), one);
}

#[test]
fn only_what_makes_the_data_larger_is_growth() {
    let store = founded(1, v1::Limits::default());
    apply(&store, 500, by((400, 7), 1, 1, put("a", "12345"))).unwrap();
    let known = |seq, command| by((400, 7), seq, 1, command);
    let stranger = |command| by((400, 8), 1, 1, command);
    let growth = |command: v1::Command| {
        let Growth { data, sessions } = store.growth(&command);
        (data, sessions)
    };
    assert_eq!(growth(put("a", "123456")), (1, 0));
    assert_eq!(growth(put("a", "12345")), (0, 0));
    assert_eq!(growth(put("a", "")), (-5, 0));
    assert_eq!(growth(known(2, put("a", "54321"))), (0, 0));
    assert!(growth(put("new", "")).0 > 3);
    assert_eq!(growth(delete("new")), (0, 0));
    assert!(growth(delete("a")).0 < -6);
    assert_eq!(growth(append("a", "67")), (2, 0));
    assert_eq!(growth(known(2, append("a", "67"))), (2 + 6, 0), "its answer has the value before");

    let (data, sessions) = growth(stranger(put("a", "12345")));
    assert!(data == 0 && sessions > 100, "{sessions}");
    assert_eq!(growth(stranger(delete("a"))).1, sessions);
    // What was answered before is answered again, and what will be refused changes nothing.
    assert_eq!(growth(known(1, put("a", "12345"))), (0, 0));
    assert_eq!(growth(by((400, 7), 0, 1, put("new", "x"))), (0, 0));
    assert_eq!(growth(if_revision(9, put("a", "1234567890"))), (0, 0));
    assert!(growth(if_revision(0, put("new", ""))).0 > 3);
    assert_eq!(growth(v1::Command { shard: 3, ..put("a", "1234567890") }), (0, 0), "a shard of others");
}

#[test]
fn what_frees_something_fills_nothing_whoever_asks_for_it() {
    let of = |data, sessions| Growth { data, sessions };
    assert!(of(1, 0).fills() && of(0, 320).fills() && of(1, 320).fills());
    assert!(!of(0, 0).fills() && !of(-9, 0).fills() && !of(-9, 320).fills() && !of(-400, 320).fills());
}

#[test]
fn an_entry_grows_if_any_of_its_commands_does() {
    let store = founded(1, v1::Limits::default());
    apply(&store, 500, put("a", "12345")).unwrap();
    let batch = |commands| store.grows_by(&encode_batch(500, commands));
    assert!(!batch(vec![put("a", "54321"), delete("a"), delete("b")]));
    assert!(batch(vec![delete("a"), put("b", "1")]));
    assert!(!store.grows_by(&encode_tick(500)));
}
