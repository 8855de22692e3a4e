//! The memory that a store counts: it follows from what the store holds, and from nothing else.

use skv_memory::Budget;
use skv_proto::v1;
use skv_proto::v1::handoff_step::{Begin, Chunk, Receive, Step};
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::{ClusterId, Epoch, GroupId, GroupUid, MapRevision, ShardId};
use skv_store::{
    Applied, Growth, HandoffStep, Move, Store, encode_assign, encode_batch, encode_found, encode_handoff,
    encode_tick,
};

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
        let Growth { data, sessions, .. } = store.growth(&command);
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
    assert!(growth(known(2, append("a", "67"))).0 >= 2 + 6, "its answer has the value before");

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
    let of = |data, sessions| Growth { data, sessions, ..Growth::default() };
    assert!(of(1, 0).fills() && of(0, 320).fills() && of(1, 320).fills());
    assert!(!of(0, 0).fills() && !of(-9, 0).fills() && !of(-9, 320).fills() && !of(-400, 320).fills());
    assert_eq!((of(0, 250).bytes(), of(-100, 250).bytes(), of(-300, 250).bytes()), (250, 150, 0));
    assert_eq!(of(-104, 250).bytes(), 0, "a key was freed");
}

#[test]
fn an_entry_grows_by_all_that_makes_it_grow() {
    let (store, keys) = (founded(1, v1::Limits::default()), keys_of(0, 3));
    let [old, new, newer] = [0, 1, 2].map(|index| &keys[index]);
    apply(&store, 500, put(old, "12345")).unwrap();
    let batch = |commands| store.growth_of(&encode_batch(500, commands));
    assert_eq!(batch(vec![put(old, "54321"), delete(old), delete(new)]), 0);
    let one = batch(vec![put(new, "1")]);
    assert!(one > 4);
    let both = one + batch(vec![put(newer, "2")]);
    assert_eq!(batch(vec![delete(old), put(new, "1"), put(newer, "2")]), both, "a delete may be refused");
    assert_eq!(store.growth_of(&encode_tick(500)), 0);
}

#[test]
fn the_growth_of_a_command_is_what_is_counted_afterwards() {
    let (store, budget) = counted();
    let (old_value, keys) = ("o".repeat(1000), keys_of(0, 2));
    let (key, other) = (&keys[0], &keys[1]);
    let commands = [
        put(key, &old_value),
        by((400, 7), 1, 1, put(key, &old_value)),
        by((400, 7), 2, 1, append(key, "!")),
        by((400, 7), 3, 1, append(key, "!")),
        by((400, 7), 4, 3, put(key, "short")),
        by((400, 7), 5, 3, delete(other)),
        by((400, 7), 6, 6, if_revision(99, put(key, &old_value))),
        by((400, 8), 1, 1, append(key, "!")),
        by((400, 8), 2, 2, delete(key)),
        by((400, 7), 7, 7, put(key, "again")),
    ];
    for command in commands {
        let Growth { data, kept, sessions, decided } = store.growth(&command);
        let before = budget.tally().bytes();
        apply(&store, 500, command.clone()).unwrap();
        let grown = budget.tally().bytes().cast_signed() - before.cast_signed();
        // The part by which allocations are rounded up is one of the whole sum.
        assert!((data + kept + sessions + decided).abs_diff(grown) <= 2, "{command:?}: {grown}");
    }
}

#[test]
fn a_request_that_releases_no_decision_grows_by_its_record_alone() {
    let (store, budget) = counted();
    apply(&store, 500, by((400, 7), 1, 1, put("a", "12345"))).unwrap();
    let before = budget.tally().bytes();
    let mut grown = 0;
    for seq in 2..1000 {
        let command = by((400, 7), seq, 1, put("a", "54321"));
        let growth = store.growth(&command);
        assert!(growth.is_record() && !growth.fills(), "the data stays as it is");
        grown += growth.bytes();
        apply(&store, 500, command).unwrap();
    }
    assert_eq!(grown, budget.tally().bytes() - before);
    assert!(grown > 50_000, "{grown}");
    assert_eq!(store.open_records(), grown);
    assert_eq!(store.growth(&by((400, 7), 1000, 2, put("a", "54321"))).bytes(), 0, "one goes for it");
}

#[test]
fn what_a_session_keeps_of_an_open_request_is_no_reason_for_a_follower_to_refuse_it() {
    let (store, keys) = (founded(1, v1::Limits::default()), keys_of(0, 2));
    let (key, missing) = (&keys[0], &keys[1]);
    apply(&store, 500, by((400, 7), 1, 1, put(key, "12345"))).unwrap();
    let known = |command| by((400, 7), 2, 1, command);
    for command in [put(key, "54321"), put(key, "1234"), delete(missing)] {
        let command = known(command);
        assert!(store.growth(&command).bytes() > 0, "{command:?}");
        assert_eq!(store.growth_of(&encode_batch(500, vec![command])), 0);
    }
    let stranger = |command| by((400, 8), 1, 1, command);
    let strange = [stranger(put(key, "54321")), stranger(delete(missing))];
    for command in [known(put(key, "123456")), known(append(key, "6"))].into_iter().chain(strange) {
        assert!(!store.growth(&command).is_record(), "{command:?}");
        assert_eq!(
            store.growth_of(&encode_batch(500, vec![command.clone()])),
            store.growth(&command).bytes()
        );
    }
}

#[test]
fn a_value_in_the_place_of_one_that_a_view_keeps_is_growth() {
    let (store, budget) = counted();
    let (value, key) = ("v".repeat(2048), &keys_of(0, 1)[0]);
    apply(&store, 500, put(key, &value)).unwrap();
    apply(&store, 500, put(&keys_of(1, 1)[0], &value)).unwrap();
    let replacing = || store.growth(&put(key, &value));
    assert_eq!(replacing().bytes(), 0);
    let view = store.view();
    assert!(replacing().bytes() > 2048 && !replacing().is_record());
    assert!(!replacing().fills(), "only until the view ends");
    let shorter = store.growth(&put(key, &value[1..]));
    assert!(shorter.bytes() > 2047 && !shorter.fills(), "the longer one stays");
    assert!(store.growth(&append(key, "!")).bytes() > 2048);
    assert!(!store.growth(&delete(key)).fills(), "the way out");
    let before = budget.tally().bytes();
    apply(&store, 500, put(key, &value)).unwrap();
    assert!(budget.tally().bytes() > before + 2048);
    drop(view);
    assert_eq!((replacing().bytes(), budget.tally().bytes()), (0, before));
}

/// Returns a move of a shard out of the group.
fn leaves(shard: u32) -> Move {
    Move { shard: ShardId(shard), epoch: Epoch(2), target: GroupId(8), target_uid: GroupUid(88) }
}

fn take(store: &Store, shard: u32, step: Step) {
    let step = v1::HandoffStep { shard, epoch: 2, step: Some(step) };
    let entry = encode_handoff(500, HandoffStep::try_from(step).unwrap());
    assert_eq!(store.apply(&entry).unwrap(), Applied::Handoff(Ok(())));
}

fn fill_shard(store: &Store, shard: u32, value: &str) {
    let commands = keys_of(shard, 200).iter().map(|key| put(key, value)).collect();
    store.apply_silently(&encode_batch(500, commands)).unwrap();
}

#[test]
fn a_copy_of_one_shard_keeps_nothing_of_the_others() {
    let (store, budget) = counted();
    let (old, new) = ("a".repeat(4096), "b".repeat(4096));
    for shard in [0, 1] {
        fill_shard(&store, shard, &old);
    }
    store.apply(&encode_assign(500, MapRevision(2), [leaves(0)])).unwrap();
    take(&store, 0, Step::Begin(Begin { copy: 1 }));
    let copy = store.base_copy(&leaves(0)).unwrap();
    let before = budget.tally().bytes();
    fill_shard(&store, 1, &new);
    assert_eq!(budget.tally().bytes(), before);
    fill_shard(&store, 0, &new);
    assert!(budget.tally().bytes() > before + 200 * 4096);
    drop(copy);
    assert!(budget.tally().bytes() < before + MIB / 8, "the changes are kept for the target");
}

#[test]
fn a_shard_is_counted_no_more_once_a_view_of_it_is_read() {
    let (store, budget) = counted();
    let (old, new) = ("a".repeat(4096), "b".repeat(4096));
    for shard in OWNED {
        fill_shard(&store, shard, &old);
    }
    let before = budget.tally().bytes();
    let mut items = store.view().into_items();
    let is_shard = |item: &v1::SnapshotItem, id| matches!(&item.item, Some(Item::Shard(s)) if s.shard == id);
    items.find(|item| is_shard(item, 1)).unwrap();
    fill_shard(&store, 0, &new);
    assert_eq!(budget.tally().bytes(), before, "the first was read");
    fill_shard(&store, 2, &new);
    assert!(budget.tally().bytes() > before + 200 * 4096);
    drop(items);
    assert_eq!(budget.tally().bytes(), before);
}

#[test]
fn a_state_that_is_replaced_is_counted_for_as_long_as_a_view_has_it() {
    let (store, budget) = counted();
    fill(&store, 1000, &"v".repeat(1024));
    let full = budget.tally().bytes();
    let view = store.view();
    let old = store.make_room();
    assert_eq!(budget.tally().bytes(), full);
    drop(old);
    assert_eq!(budget.tally().bytes(), full, "the view has its buckets");
    drop(view);
    assert_eq!(budget.tally().bytes(), 0);
}

#[test]
fn a_part_of_a_shard_that_came_before_is_no_growth() {
    let store = founded(1, v1::Limits::default());
    let key = v1::KeyState { record: "key3value".into(), key_length: 4, revision: 7 };
    let session = v1::SessionState {
        id: Some(v1::SessionId { opened_at: 400, random: 7 }),
        acked_below: 1,
        used_revision: 7,
        ..v1::SessionState::default()
    };
    let tombstones = vec![v1::Tombstone { key: "gone".into(), revision: 6 }];
    let chunk = Chunk { copy: 1, keys: vec![key], sessions: vec![session], tombstones, ..Chunk::default() };
    let growth = |chunk: &Chunk| store.growth_by(ShardId(3), Epoch(2), chunk);
    let all = growth(&chunk);
    assert!(all > 9 + 4);
    take(&store, 3, Step::Receive(Receive { source: 8, source_uid: 88 }));
    assert_eq!(growth(&chunk), all);
    let entry = encode_handoff(
        500,
        HandoffStep::try_from(v1::HandoffStep { shard: 3, epoch: 2, step: Some(Step::Chunk(chunk.clone())) })
            .unwrap(),
    );
    assert_eq!(store.growth_of(&entry), all);
    store.apply(&entry).unwrap();
    assert_eq!((growth(&chunk), store.growth_of(&entry)), (0, 0));
    let mut newer = chunk.clone();
    newer.keys[0].revision = 8;
    assert!((1..all).contains(&growth(&newer)));
    assert_eq!(growth(&Chunk { copy: 2, ..chunk.clone() }), 0, "another copy takes the place of this one");
    assert_eq!(store.growth_by(ShardId(0), Epoch(1), &chunk), 0, "the shard is here");
}

#[test]
fn an_empty_part_of_no_copy_lets_go_of_what_came_and_keeps_the_promise() {
    let (store, budget) = counted();
    take(&store, 3, Step::Receive(Receive { source: 8, source_uid: 88 }));
    let key = v1::KeyState { record: "key3value".into(), key_length: 4, revision: 7 };
    let chunk = Chunk { copy: 1, keys: vec![key], ..Chunk::default() };
    take(&store, 3, Step::Chunk(chunk.clone()));
    let whole = store.memory_of(ShardId(3));
    assert!(whole > 9 && store.arrivals()[0].bytes == 9);
    take(&store, 3, Step::Chunk(Chunk::default()));
    assert_eq!((store.memory_of(ShardId(3)), budget.tally().bytes()), (0, 0));
    assert_eq!(store.arrivals()[0].bytes, 0, "it still comes");
    take(&store, 3, Step::Chunk(Chunk { copy: 2, ..chunk }));
    assert_eq!(store.memory_of(ShardId(3)), whole);
}
