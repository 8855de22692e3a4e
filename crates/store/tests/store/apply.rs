//! The effects of commands and the other entries on a store.

use bytes::Bytes;
use prost::Message as _;
use skv_proto::{Error, v1};
use skv_sharding::{ClusterId, Epoch, GroupId, GroupUid, Hash, Incarnation, MapRevision, Revision, ShardId};
use skv_store::{
    Answer, Applied, ApplyError, KeyValue, Limits, RecordError, Rejection, ShardState, Stats, Store,
    encode_batch, encode_found, encode_obey, encode_reset, encode_tick,
};

use crate::support::*;

fn store() -> Store {
    founded(1, v1::Limits::default())
}

fn written(revision: u64) -> Answer {
    Answer::Put { success: true, revision: Revision(revision) }
}

fn refused(revision: u64) -> Answer {
    Answer::Put { success: false, revision: Revision(revision) }
}

fn old_value(answer: Answer) -> (Option<String>, u64) {
    let Answer::Append { old, revision } = answer else { panic!("{answer:?}") };
    (old.map(|old: KeyValue| String::from_utf8(old.value().to_vec()).unwrap()), revision.0)
}

#[test]
fn every_applied_request_raises_the_revision_of_its_shard() {
    let store = store();
    let keys = keys_of(0, 2);
    let (a, b) = (&keys[0], &keys[1]);
    let other = &keys_of(1, 1)[0];

    assert_eq!(apply(&store, 0, put(a, "1")), Ok(written(1)));
    assert_eq!(apply(&store, 0, put(other, "1")), Ok(written(1)));
    assert_eq!(apply(&store, 0, if_revision(9, put(b, "2"))), Ok(refused(0)));
    assert_eq!(apply(&store, 0, put(b, "2")), Ok(written(3)));
    assert_eq!(
        apply(&store, 0, delete(a)),
        Ok(Answer::Delete { success: true, found: true, revision: Revision(0) })
    );
    assert_eq!(
        apply(&store, 0, delete(a)),
        Ok(Answer::Delete { success: true, found: false, revision: Revision(0) })
    );
    assert_eq!(apply(&store, 0, put(a, "3")), Ok(written(6)));
    assert_eq!(store.get(a.as_bytes()), Ok(Some((Bytes::from_static(b"3"), Revision(6)))));
    assert_eq!(store.get(b.as_bytes()), Ok(Some((Bytes::from_static(b"2"), Revision(3)))));
}

#[test]
fn conditions_compare_the_revision_of_the_key() {
    let store = store();
    let key = &keys_of(0, 1)[0];
    assert_eq!(apply(&store, 0, if_revision(0, put(key, "new"))), Ok(written(1)));
    assert_eq!(apply(&store, 0, if_revision(0, put(key, "again"))), Ok(refused(1)));
    assert_eq!(apply(&store, 0, if_revision(1, put(key, "next"))), Ok(written(3)));
    assert_eq!(
        apply(&store, 0, if_revision(1, delete(key))),
        Ok(Answer::Delete { success: false, found: true, revision: Revision(3) })
    );
    assert_eq!(value(&store, key).as_deref(), Some("next"));
    assert_eq!(
        apply(&store, 0, if_revision(3, delete(key))),
        Ok(Answer::Delete { success: true, found: true, revision: Revision(0) })
    );
    assert_eq!(
        apply(&store, 0, if_revision(0, delete(key))),
        Ok(Answer::Delete { success: true, found: false, revision: Revision(0) })
    );
    assert_eq!(value(&store, key), None);
}

#[test]
fn append_returns_the_value_before() {
    let store = store();
    let key = &keys_of(0, 1)[0];
    assert_eq!(old_value(apply(&store, 0, append(key, "")).unwrap()), (None, 1));
    assert_eq!(old_value(apply(&store, 0, append(key, "a")).unwrap()), (Some(String::new()), 2));
    let answer = apply(&store, 0, append(key, "b")).unwrap();
    let response = v1::AppendResponse { old_value: "a".into(), revision: 3, found: true };
    assert_eq!(v1::answer::Answer::from(answer), v1::answer::Answer::Append(response));
    assert_eq!(value(&store, key).as_deref(), Some("ab"));
}

#[test]
fn no_value_grows_past_the_limit_of_the_founding_entry() {
    let store = founded(1, v1::Limits { max_value_bytes: 4, ..v1::Limits::default() });
    let key = &keys_of(0, 1)[0];
    assert_eq!(apply(&store, 0, put(key, "abcd")), Ok(written(1)));
    let before = dump(&store);
    let too_large = Err(Rejection::ValueTooLarge { limit: 4 });
    assert_eq!(apply(&store, 0, append(key, "e")), too_large);
    assert_eq!(apply(&store, 0, put(key, "abcde")), too_large);
    assert_eq!(apply(&store, 0, by((1, 1), 1, 1, append(key, "e"))), too_large);
    assert_eq!(dump(&store), before);
    assert_eq!(old_value(apply(&store, 0, append(key, "")).unwrap()), (Some("abcd".into()), 2));
}

#[test]
fn a_large_value_survives() {
    let store = store();
    let key = &keys_of(0, 1)[0];
    let large = "x".repeat(1 << 20);
    assert_eq!(apply(&store, 0, put(key, &large)), Ok(written(1)));
    assert_eq!(value(&store, key), Some(large));
}

#[test]
fn a_shard_of_another_group_is_refused() {
    let store = store();
    let key = &keys_of(3, 1)[0];
    let outcomes = apply_all(&store, 0, vec![put(key, "1"), put(&keys_of(0, 1)[0], "2"), append(key, "3")]);
    assert_eq!(outcomes, [Err(ELSEWHERE), Ok(written(1)), Err(ELSEWHERE)]);
    assert_eq!(store.get(key.as_bytes()), Err(ELSEWHERE));
    assert_eq!(store.owns(ShardId(3)), None);
    assert_eq!(store.owns(ShardId(4)), None);
    let beyond = v1::Command { shard: 1000, ..put(key, "1") };
    assert_eq!(apply(&store, 0, beyond), Err(ELSEWHERE));
    assert_eq!(ELSEWHERE.into_error(GroupId(7)), Error::WrongGroup { group: GroupId(7), owner: None });
}

#[test]
fn a_group_is_founded_once() {
    let store = Store::new(1);
    assert_eq!(store.facts(), None);
    assert_eq!(store.get(b"k"), Err(Rejection::NotFounded));
    assert_eq!(apply(&store, 0, put("k", "v")), Err(Rejection::NotFounded));
    assert_eq!(store.apply(&encode_obey(0, MapRevision(3))), Ok(Applied::NotFounded));

    let limits = v1::Limits { max_value_bytes: 9, ..v1::Limits::default() };
    let entry = encode_found(50, ClusterId(5), record(limits), MapRevision(3)).unwrap();
    assert_eq!(store.apply(&entry), Ok(Applied::Founded { first: true }));
    let facts = store.facts().unwrap();
    assert_eq!((facts.cluster, facts.group, facts.uid), (ClusterId(5), GroupId(7), GroupUid(77)));
    assert_eq!((facts.hash, facts.shards, facts.obeyed_revision), (Hash::Fnv1, SHARDS, MapRevision(3)));
    assert_eq!(facts.limits, Limits { max_value_bytes: 9, ..Limits::default() });
    assert_eq!(store.owned_shards(), OWNED.map(|shard| (ShardId(shard), Epoch(1))));
    assert_eq!(store.time(), 50);

    let before = dump(&store);
    let other = v1::BootstrapRecord { group_uid: 78, shards: 9, ..record(v1::Limits::default()) };
    let second = encode_found(0, ClusterId(6), other, MapRevision(9)).unwrap();
    assert_eq!(store.apply(&second), Ok(Applied::Founded { first: false }));
    assert_eq!(dump(&store), before);
}

#[test]
fn a_record_that_no_group_can_be_founded_with_is_refused_before_it_is_proposed() {
    let found = |record| encode_found(0, ClusterId(5), record, MapRevision(3)).unwrap_err();
    let good = record(v1::Limits::default());
    assert_eq!(found(v1::BootstrapRecord { hash: 0, ..good.clone() }), RecordError::UnknownHash(0));
    assert_eq!(found(v1::BootstrapRecord { shards: 0, ..good.clone() }), RecordError::Shards(0));
    assert_eq!(found(v1::BootstrapRecord { shards: 2, ..good.clone() }), RecordError::NoSuchShard(2, 2));
    let twice = vec![v1::ShardEpoch { shard: 1, epoch: 1 }, v1::ShardEpoch { shard: 1, epoch: 2 }];
    assert_eq!(found(v1::BootstrapRecord { shards_owned: twice, ..good }), RecordError::Twice(1));
}

#[test]
fn the_limits_that_a_record_leaves_open_are_in_the_entry() {
    let entry = encode_found(0, ClusterId(5), record(v1::Limits::default()), MapRevision(3)).unwrap();
    let Some(v1::entry::Entry::Found(found)) = v1::Entry::decode(entry).unwrap().entry else { panic!() };
    assert_eq!(found.record.unwrap().limits, Some(Limits::default().into()));
}

#[test]
fn an_older_map_revision_is_not_obeyed() {
    let store = store();
    let obeyed = |revision| store.apply(&encode_obey(0, MapRevision(revision)));
    assert_eq!(obeyed(5), Ok(Applied::Obeyed { accepted: true, revision: MapRevision(5) }));
    assert_eq!(obeyed(4), Ok(Applied::Obeyed { accepted: false, revision: MapRevision(5) }));
    assert_eq!(obeyed(5), Ok(Applied::Obeyed { accepted: true, revision: MapRevision(5) }));
    assert_eq!(store.obeyed_revision(), MapRevision(5));
}

#[test]
fn a_reset_never_lowers_the_incarnation() {
    let store = store();
    let reset = |to| store.apply(&encode_reset(0, Incarnation(to)));
    assert_eq!(reset(2), Ok(Applied::Reset(Incarnation(2))));
    assert_eq!(reset(1), Ok(Applied::Reset(Incarnation(2))));
    assert_eq!(store.facts().unwrap().incarnation, Incarnation(2));
}

#[test]
fn time_never_goes_back() {
    let store = store();
    for (time, expected) in [(10, 10), (5, 10), (11, 11)] {
        assert_eq!(store.apply(&encode_tick(time)), Ok(Applied::Nothing));
        assert_eq!(store.time(), expected);
    }
}

#[test]
fn an_entry_that_cannot_be_read_changes_nothing() {
    let store = store();
    let before = dump(&store);
    let newer = v1::Entry { version: 2, time: 99, entry: None }.encode_to_vec();
    let found = store.apply(&newer.into());
    assert_eq!(found, Err(ApplyError::UnsupportedVersion { found: 2, supported: 1 }));

    let key = &keys_of(0, 1)[0];
    let unknown = v1::Command { kind: 99, ..put(key, "1") };
    for corrupt in [
        Bytes::from_static(b"\xff\xff"),
        Bytes::new(),
        v1::Entry { version: 1, time: 99, entry: None }.encode_to_vec().into(),
        encode_batch(99, vec![put(key, "1"), unknown]),
    ] {
        assert!(matches!(store.apply(&corrupt), Err(ApplyError::Corrupt(_))));
    }
    assert_eq!(dump(&store), before);
}

#[test]
fn silent_application_changes_the_same() {
    let (loud, silent) = (store(), store());
    let commands = (0..50).map(|i| append(&format!("key{}", i % 7), "x")).collect();
    let entry = encode_batch(3, commands);
    loud.apply(&entry).unwrap();
    silent.apply_silently(&entry).unwrap();
    assert_eq!(dump(&loud), dump(&silent));
}

#[test]
fn the_integer_hash_refuses_other_keys() {
    let store = Store::new(1);
    let record = v1::BootstrapRecord { hash: v1::Hash::Integer as i32, ..record(v1::Limits::default()) };
    store.apply(&encode_found(0, ClusterId(5), record, MapRevision(1)).unwrap()).unwrap();
    assert_eq!(store.locate(b"-1").map(|(shard, _)| shard), Ok(ShardId(3)));
    assert_eq!(store.get(b"4"), Ok(None));
    assert_eq!(store.get(b"four"), Err(Rejection::NotAnInteger));
}

#[test]
fn stats_count_what_is_there() {
    let store = store();
    let keys = keys_of(0, 3);
    apply(&store, 0, put(&keys[0], "12345")).unwrap();
    apply(&store, 0, put(&keys[0], "123")).unwrap();
    apply(&store, 0, by((1, 1), 1, 1, append(&keys[1], "45"))).unwrap();
    apply(&store, 0, put(&keys[2], "gone")).unwrap();
    apply(&store, 0, delete(&keys[2])).unwrap();
    let bytes = (keys[0].len() + 3 + keys[1].len() + 2) as u64;
    let expected = Stats { keys: 2, bytes, sessions: 1, shards: [(ShardState::Served, 3)].into() };
    assert_eq!(store.stats(), expected);
    assert_eq!(restored(&store, 9).stats(), expected);
}

#[test]
fn a_view_shows_the_state_between_two_entries() {
    let store = store();
    for i in 0..2000 {
        apply_all(&store, 0, vec![put(&format!("key{i}"), "before")]);
    }
    let before = dump(&store);
    let view = store.view();
    let mut items = view.into_items();
    let mut seen: Vec<_> = items.by_ref().take(500).collect();
    for i in 0..2000 {
        let delete = delete(&format!("key{}", i / 2));
        apply_all(&store, 0, vec![put(&format!("key{i}"), "after"), delete]);
    }
    seen.extend(items);
    let count = |items: &[v1::SnapshotItem]| {
        let mut items: Vec<_> = items.iter().map(prost::Message::encode_to_vec).collect();
        items.sort();
        items
    };
    assert_eq!(count(&seen), count(&before));
}
