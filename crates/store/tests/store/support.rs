//! Helpers of the store's tests: founding, commands, and the whole state as items that can be
//! compared.
#![allow(dead_code, reason = "the test of memory uses a part of it")]

use bytes::Bytes;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::{ClusterId, Hash, MapRevision, ShardId};
use skv_store::{Applied, Outcome, Rejection, Store, encode_batch, encode_found};

pub(crate) const SHARDS: u32 = 4;

/// The rejection of a shard that the group never had.
pub(crate) const ELSEWHERE: Rejection = Rejection::WrongGroup { next: None };

/// The shards that the group owns; shard 3 is another's.
pub(crate) const OWNED: [u32; 3] = [0, 1, 2];

pub(crate) fn record(limits: v1::Limits) -> v1::BootstrapRecord {
    v1::BootstrapRecord {
        group: 7,
        group_uid: 77,
        members: Vec::new(),
        shards_owned: OWNED.iter().map(|&shard| v1::ShardEpoch { shard, epoch: 1 }).collect(),
        shards: SHARDS,
        hash: v1::Hash::Fnv1 as i32,
        limits: Some(limits),
    }
}

/// Returns a founded store.
pub(crate) fn founded(seed: u64, limits: v1::Limits) -> Store {
    let store = Store::new(seed);
    let entry = encode_found(0, ClusterId(5), record(limits), MapRevision(1)).unwrap();
    assert_eq!(store.apply(&entry), Ok(Applied::Founded { first: true }));
    store
}

pub(crate) fn shard(key: &str) -> ShardId {
    Hash::Fnv1.shard(key.as_bytes(), SHARDS).unwrap()
}

/// Returns `count` keys of one shard.
pub(crate) fn keys_of(shard_id: u32, count: usize) -> Vec<String> {
    (0..).map(|i| format!("key{i}")).filter(|key| shard(key).0 == shard_id).take(count).collect()
}

pub(crate) fn command(kind: Kind, key: &str, value: &str) -> v1::Command {
    v1::Command {
        kind: kind as i32,
        shard: shard(key).0,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        if_revision: None,
        id: None,
    }
}

pub(crate) fn put(key: &str, value: &str) -> v1::Command {
    command(Kind::Put, key, value)
}

pub(crate) fn append(key: &str, value: &str) -> v1::Command {
    command(Kind::Append, key, value)
}

pub(crate) fn delete(key: &str) -> v1::Command {
    command(Kind::Delete, key, "")
}

/// Returns the command as the `seq`th of a session.
pub(crate) fn by(session: (u64, u64), seq: u64, acked_below: u64, command: v1::Command) -> v1::Command {
    let (opened_at, random) = session;
    let session = Some(v1::SessionId { opened_at, random });
    v1::Command { id: Some(v1::RequestId { session, seq, acked_below }), ..command }
}

pub(crate) fn if_revision(revision: u64, command: v1::Command) -> v1::Command {
    v1::Command { if_revision: Some(revision), ..command }
}

/// Applies commands as one entry.
pub(crate) fn apply_all(store: &Store, time: u64, commands: Vec<v1::Command>) -> Vec<Outcome> {
    match store.apply(&encode_batch(time, commands)) {
        Ok(Applied::Batch(outcomes)) => outcomes,
        other => panic!("a batch came to {other:?}"),
    }
}

/// Applies one command as one entry.
pub(crate) fn apply(store: &Store, time: u64, command: v1::Command) -> Outcome {
    apply_all(store, time, vec![command]).remove(0)
}

pub(crate) fn value(store: &Store, key: &str) -> Option<String> {
    let (value, _) = store.get(key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

/// Returns everything that a store holds, in an order of its own.
pub(crate) fn dump(store: &Store) -> Vec<v1::SnapshotItem> {
    let mut shard = 0;
    let mut items: Vec<_> = store
        .view()
        .into_items()
        .map(|item| {
            if let Some(Item::Shard(state)) = &item.item {
                shard = state.shard;
            }
            (shard, item.encode_to_vec(), item)
        })
        .collect();
    items[1..].sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    items.into_iter().map(|(_, _, item)| item).collect()
}

/// Returns the state of one shard.
pub(crate) fn shard_state(store: &Store, shard: u32) -> v1::ShardState {
    let states = dump(store).into_iter().filter_map(|item| match item.item {
        Some(Item::Shard(state)) => Some(state),
        _ => None,
    });
    states.into_iter().find(|state| state.shard == shard).unwrap()
}

/// Returns a store with another hash seed that went through a snapshot's items.
pub(crate) fn restored(store: &Store, seed: u64) -> Store {
    let copy = Store::new(seed);
    let mut restore = copy.begin_restore();
    for item in store.view().into_items() {
        let item = v1::SnapshotItem::decode(Bytes::from(item.encode_to_vec())).unwrap();
        restore.add(item).unwrap();
    }
    copy.restore(restore.finish().unwrap());
    copy
}
