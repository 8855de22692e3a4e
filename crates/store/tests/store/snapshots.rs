//! Snapshots that no store of this version writes: they are refused before anything is made of them, and
//! by the same rules as a state is put together.

use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::shard_state::{Holding, Outgoing, Owned, Received};
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::COUNT_LIMIT;
use skv_store::{Inspection, RestoreError, Store};

use crate::support::{append, apply_all, by, dump, founded, put};

/// Returns the items of a store with keys and a session.
fn items() -> Vec<Item> {
    let store = founded(1, v1::Limits::default());
    apply_all(&store, 5, vec![put("a", "1"), put("b", "2"), by((1, 2), 1, 1, append("a", "3"))]);
    dump(&store).into_iter().filter_map(|item| item.item).collect()
}

fn inspect(items: &[Item]) -> Result<(), RestoreError> {
    let mut inspection = Inspection::default();
    items.iter().try_for_each(|item| inspection.add(v1::SnapshotItem { item: Some(item.clone()) }))?;
    inspection.finish()
}

fn restore(items: &[Item]) -> Result<Store, RestoreError> {
    let store = Store::new(3);
    let mut restore = store.begin_restore();
    items.iter().try_for_each(|item| restore.add(v1::SnapshotItem { item: Some(item.clone()) }))?;
    drop(store.restore(restore.finish()?));
    Ok(store)
}

/// Changes the state of the first shard that has keys.
fn with_state(change: impl FnOnce(&mut v1::ShardState)) -> Vec<Item> {
    let mut items = items();
    let state = items.iter_mut().find_map(|item| match item {
        Item::Shard(state) if state.keys > 0 => Some(state),
        _ => None,
    });
    change(state.unwrap());
    items
}

fn without(mut items: Vec<Item>, is_gone: impl Fn(&Item) -> bool) -> Vec<Item> {
    items.retain(|item| !is_gone(item));
    items
}

fn with(mut items: Vec<Item>, at: usize, item: Item) -> Vec<Item> {
    items.insert(at, item);
    items
}

#[test]
fn what_a_store_writes_passes_and_is_the_same_again() {
    assert_eq!(inspect(&items()), Ok(()));
    let again: Vec<Item> =
        dump(&restore(&items()).unwrap()).into_iter().filter_map(|item| item.item).collect();
    assert_eq!(again, items());
}

#[test]
fn what_contradicts_itself_is_refused_before_a_state_is_made_of_it() {
    let (end, key) = (items().len(), v1::KeyState { record: "ab".into(), key_length: 1, revision: 1 });
    let long = v1::KeyState { key_length: 3, ..key.clone() };
    let shard = |shard| {
        Item::Shard(v1::ShardState {
            shard,
            fence: Some(v1::shard_state::Fence::default()),
            ..v1::ShardState::default()
        })
    };
    let unknown = v1::session_state::Decided { kind: 77, ..Default::default() };
    let session = v1::SessionState { id: None, decided: vec![unknown], ..Default::default() };
    let tombstone = Item::Tombstone(v1::Tombstone::default());
    let nowhere = Outgoing { r#move: None, ..Outgoing::default() };
    let phase = Outgoing { r#move: Some(v1::Move::default()), phase: 9, ..Outgoing::default() };
    let leaves = |outgoing| Some(Holding::Owned(Owned { epoch: 1, outgoing: Some(outgoing) }));
    let cases = [
        ("nothing", Vec::new()),
        ("no group", without(items(), |item| matches!(item, Item::Group(_)))),
        ("two groups", with(items(), 0, Item::Group(v1::GroupState::default()))),
        ("a key too few", without(items(), |item| matches!(item, Item::Key(_)))),
        ("a key too many", with(items(), end, Item::Key(key.clone()))),
        ("a key before all shards", with(items(), 1, Item::Key(key.clone()))),
        ("a long key", with(with_state(|state| state.keys += 1), 3, Item::Key(long))),
        ("a session of nobody", with(with_state(|state| state.sessions += 1), 3, Item::Session(session))),
        ("a deletion in a shard that stays", with(with_state(|state| state.tombstones = 1), 3, tombstone)),
        ("a shard twice", with(items(), end, shard(0))),
        ("a shard too many", with(items(), end, shard(99))),
        ("no fence", with_state(|state| state.fence = None)),
        ("any number of keys", with_state(|state| state.keys = u64::MAX)),
        ("any number of sessions", with_state(|state| state.sessions = u64::MAX)),
        ("the last revision", with_state(|state| state.revision = u64::MAX)),
        ("a move to nowhere", with_state(|state| state.holding = leaves(nowhere))),
        ("a move in no phase", with_state(|state| state.holding = leaves(phase))),
        ("nothing held", with_state(|state| state.holding = None)),
    ];
    for (what, items) in cases {
        let refused = inspect(&items);
        assert!(refused.is_err(), "{what}");
        assert_eq!(restore(&items).map(drop), refused, "{what}");
    }
    let unknown = Inspection::default().add(v1::SnapshotItem { item: None });
    assert!(unknown.is_err());
}

#[test]
fn a_session_that_a_snapshot_has_twice_is_one() {
    let limits = v1::Limits { max_sessions_per_shard: 1, ..v1::Limits::default() };
    let store = founded(1, limits);
    apply_all(&store, 5, vec![put("a", "1"), by((1, 2), 1, 1, append("a", "3"))]);
    let once: Vec<Item> = dump(&store).into_iter().filter_map(|item| item.item).collect();
    let mut twice = once.clone();
    let at = twice.iter().position(|item| matches!(item, Item::Session(_))).unwrap();
    twice.insert(at, once[at].clone());
    for item in &mut twice {
        if let Item::Shard(state) = item
            && state.sessions > 0
        {
            state.sessions += 1;
        }
    }
    assert_eq!(inspect(&twice), Ok(()));
    let store = restore(&twice).unwrap();
    assert_eq!(store.memory(), restore(&once).unwrap().memory());
    // Each takes the place of the one before.
    for opened_at in 6..9 {
        assert!(apply_all(&store, 5, vec![by((opened_at, 2), 1, 1, put("a", "4"))])[0].is_ok());
        assert_eq!(store.stats().sessions, 1);
    }
}

#[test]
fn what_only_a_source_or_a_target_has_passes() {
    let copied = Outgoing {
        r#move: Some(v1::Move { shard: 0, epoch: 2, target: 1, target_uid: 9 }),
        phase: v1::shard_state::outgoing::Phase::Copying as i32,
        ..Outgoing::default()
    };
    let received = Received { epoch: 2, source: 1, source_uid: 9, copy: 5 };
    for holding in [Holding::Owned(Owned { epoch: 1, outgoing: Some(copied) }), Holding::Received(received)] {
        let deleted = v1::Tombstone { key: "gone".into(), revision: 2 };
        let items = vec![
            items().remove(0),
            Item::Shard(v1::ShardState {
                shard: 1,
                revision: COUNT_LIMIT,
                tombstones: 1,
                forgotten: 1,
                fence: Some(v1::shard_state::Fence::default()),
                holding: Some(holding),
                ..v1::ShardState::default()
            }),
            Item::Tombstone(deleted),
            Item::Forgotten(v1::SessionId { opened_at: 1, random: 1 }),
        ];
        assert_eq!(inspect(&items), Ok(()));
        let store = restore(&items).unwrap();
        assert_eq!(store.view().into_items().count(), items.len());
        assert!(items.iter().all(|item| v1::SnapshotItem { item: Some(item.clone()) }.encoded_len() > 0));
    }
}
