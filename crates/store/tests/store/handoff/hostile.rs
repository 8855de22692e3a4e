//! Invalid steps: all replicas refuse them alike, whatever a log holds, and none ends.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::entry::Entry;
use skv_proto::v1::handoff_step::{Abort, Begin, Chunk, Drop, Freeze, Install, Pause, Receive, Step};
use skv_proto::v1::session_state::Decided;
use skv_sharding::{COUNT_LIMIT, Epoch};
use skv_store::{Applied, ENTRY_VERSION, HandoffStep, StepRefusal, Store};

use super::world::{SHARD, assign, execute, receive, store, take, to};
use crate::asked::ask_all;
use crate::support::{dump, put, restored};

/// Returns an entry that nobody judged.
fn unjudged(step: v1::HandoffStep) -> Bytes {
    let entry = v1::Entry { version: ENTRY_VERSION, time: 1000, entry: Some(Entry::Handoff(step)) };
    entry.encode_to_vec().into()
}

fn of_epoch(epoch: u64, step: Step) -> v1::HandoffStep {
    v1::HandoffStep { shard: SHARD.0, epoch, step: Some(step) }
}

fn key(record: &'static str, key_length: u32, revision: u64) -> v1::KeyState {
    v1::KeyState { record: Bytes::from_static(record.as_bytes()), key_length, revision }
}

fn session(decided: Vec<Decided>) -> v1::SessionState {
    let id = Some(v1::SessionId { opened_at: 1, random: 2 });
    v1::SessionState { id, acked_below: 1, used_revision: 9, used_at: 1, decided }
}

fn decided(seq: u64) -> Decided {
    Decided { seq, revision: 1, kind: Kind::Put as i32, ..Decided::default() }
}

/// Returns chunks that no source of this version sends.
fn chunks_that_cannot_be() -> Vec<Chunk> {
    let keys = |key| Chunk { keys: vec![key], ..Chunk::default() };
    let sessions = |session| Chunk { sessions: vec![session], ..Chunk::default() };
    let cut = Decided { kind: Kind::Append as i32, found: true, key_length: 1, ..decided(1) };
    let late = Some(v1::SessionId { opened_at: u64::MAX, random: 2 });
    vec![
        keys(key("", 1, 1)),
        keys(key("ab", u32::MAX, 1)),
        keys(key("ab", 1, u64::MAX)),
        keys(key("ab", 0, 1)),
        sessions(v1::SessionState { id: None, ..session(Vec::new()) }),
        sessions(v1::SessionState { id: late, ..session(Vec::new()) }),
        sessions(v1::SessionState { acked_below: 0, ..session(Vec::new()) }),
        sessions(v1::SessionState { used_revision: u64::MAX, ..session(Vec::new()) }),
        sessions(session(vec![Decided { kind: 77, ..decided(1) }])),
        sessions(session(vec![cut])),
        sessions(session(vec![decided(2), decided(1)])),
        sessions(session(vec![decided(1), decided(1)])),
        sessions(session(vec![decided(1 << 20)])),
        sessions(v1::SessionState { acked_below: 5, ..session(vec![decided(4)]) }),
        Chunk {
            tombstones: vec![v1::Tombstone { revision: u64::MAX, ..Default::default() }],
            ..Chunk::default()
        },
        Chunk { forgotten: vec![v1::SessionId { opened_at: u64::MAX, random: 0 }], ..Chunk::default() },
    ]
}

/// Returns invalid steps, for a target that has promised to take the shard under epoch 2.
fn steps_that_cannot_be() -> Vec<v1::HandoffStep> {
    let contents = Some(v1::Contents::default());
    let install = Install { contents, revision: 9, ..Install::default() };
    let installs = [
        Install { contents: None, ..install.clone() },
        Install { revision: u64::MAX, ..install.clone() },
        Install { floor: u64::MAX, ..install.clone() },
        Install { rest: Some(Chunk { keys: vec![key("ab", 1, 10)], ..Chunk::default() }), ..install.clone() },
    ];
    let rests =
        chunks_that_cannot_be().into_iter().map(|rest| Install { rest: Some(rest), ..install.clone() });
    let mut steps: Vec<_> =
        installs.into_iter().chain(rests).map(|install| of_epoch(2, Step::Install(install))).collect();
    steps.extend(chunks_that_cannot_be().into_iter().map(|chunk| of_epoch(2, Step::Chunk(chunk))));
    steps.push(v1::HandoffStep { step: None, ..of_epoch(2, Step::Abort(Abort {})) });
    let receive = Receive { source: 0, source_uid: 100 };
    steps.extend([0, COUNT_LIMIT, u64::MAX].map(|epoch| of_epoch(epoch, Step::Receive(receive))));
    steps
}

#[test]
fn a_step_that_cannot_be_is_refused_where_it_comes_from_and_where_it_is_applied() {
    let target = store(1, false);
    take(&target, &receive(2, 0)).unwrap();
    let before = dump(&target);
    for step in steps_that_cannot_be() {
        assert!(HandoffStep::try_from(step.clone()).is_err(), "{step:?} would be proposed");
        let applied = target.apply(&unjudged(step.clone()));
        assert_eq!(applied, Ok(Applied::Handoff(Err(StepRefusal::Malformed))), "{step:?}");
        assert_eq!(dump(&target), before, "{step:?} changed something");
    }
}

#[test]
fn what_a_record_cannot_say_founds_nothing_and_ends_nothing() {
    let store = Store::new(1);
    let records = [
        None,
        Some(v1::BootstrapRecord { hash: v1::Hash::Fnv1 as i32, shards: 0, ..Default::default() }),
        Some(v1::BootstrapRecord { hash: v1::Hash::Fnv1 as i32, shards: u32::MAX, ..Default::default() }),
        Some(v1::BootstrapRecord {
            hash: v1::Hash::Fnv1 as i32,
            shards: 4,
            shards_owned: vec![v1::ShardEpoch { shard: 4, epoch: 1 }],
            ..Default::default()
        }),
    ];
    for record in records {
        let found = Entry::Found(v1::BootstrapRecordEntry { cluster_id: 5, record, manager_version: 1 });
        let entry = v1::Entry { version: ENTRY_VERSION, time: 1, entry: Some(found) };
        assert_eq!(store.apply(&entry.encode_to_vec().into()), Ok(Applied::Malformed));
        assert!(store.facts().is_none());
    }
}

/// Generates numbers at which something begins or ends.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..4, 1 => Just(COUNT_LIMIT - 1), 1 => Just(COUNT_LIMIT), 1 => Just(u64::MAX)]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(b'a'..b'd', 0..3).prop_map(Bytes::from)
}

fn session_id() -> impl Strategy<Value = v1::SessionId> {
    (number(), 0u64..3).prop_map(|(opened_at, random)| v1::SessionId { opened_at, random })
}

prop_compose! {
    fn any_decided()(
        seq in number(), revision in number(), kind in 0i32..4, flags in any::<[bool; 3]>(),
        old_record in bytes(), key_length in 0u32..3,
    ) -> Decided {
        let [success, found, forgotten] = flags;
        Decided { seq, revision, kind, success, found, old_record, key_length, forgotten }
    }
}

prop_compose! {
    fn any_session()(
        id in proptest::option::weighted(0.9, session_id()), acked_below in number(), used_revision in number(),
        used_at in number(), decided in proptest::collection::vec(any_decided(), 0..3),
    ) -> v1::SessionState {
        v1::SessionState { id, acked_below, used_revision, used_at, decided }
    }
}

prop_compose! {
    fn any_chunk()(
        keys in proptest::collection::vec((bytes(), 0u32..3, number()), 0..3),
        tombstones in proptest::collection::vec((bytes(), number()), 0..2),
        sessions in proptest::collection::vec(any_session(), 0..3),
        forgotten in proptest::collection::vec(session_id(), 0..2),
        copy in 0u64..2,
    ) -> Chunk {
        let key = |(record, key_length, revision)| v1::KeyState { record, key_length, revision };
        let tombstone = |(key, revision)| v1::Tombstone { key, revision };
        Chunk {
            keys: keys.into_iter().map(key).collect(),
            tombstones: tombstones.into_iter().map(tombstone).collect(),
            sessions, forgotten, copy,
        }
    }
}

fn any_step() -> impl Strategy<Value = Option<Step>> {
    let install = (proptest::option::of(any_chunk()), number(), number(), any::<bool>());
    prop_oneof![
        1 => Just(None),
        2 => (0u64..2).prop_map(|copy| Some(Step::Begin(Begin { copy }))),
        1 => (0u64..2).prop_map(|copy| Some(Step::Pause(Pause { copy }))),
        2 => (0u64..2).prop_map(|copy| Some(Step::Freeze(Freeze { copy }))),
        1 => Just(Some(Step::Drop(Drop {}))),
        1 => Just(Some(Step::Abort(Abort {}))),
        4 => (0u32..2, number()).prop_map(|(source, source_uid)| Some(Step::Receive(Receive { source, source_uid }))),
        6 => any_chunk().prop_map(|chunk| Some(Step::Chunk(chunk))),
        4 => install.prop_map(|(rest, revision, floor, honest)| {
            let contents = honest.then(v1::Contents::default);
            Some(Step::Install(Install { rest, revision, floor, contents }))
        }),
    ]
}

#[derive(Debug, Clone)]
enum Event {
    Step(v1::HandoffStep),
    /// The manager's list, with any epoch and target.
    List(u64, u64, u32),
    Put,
    /// Everything is asked for.
    Ask,
}

fn event() -> impl Strategy<Value = Event> {
    let step = (0u32..2, number(), any_step());
    prop_oneof![
        8 => step.prop_map(|(shard, epoch, step)| Event::Step(v1::HandoffStep { shard, epoch, step })),
        2 => (number(), number(), 0u32..2).prop_map(|(version, epoch, target)| Event::List(version, epoch, target)),
        1 => Just(Event::Put),
        1 => Just(Event::Ask),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_steps_say_no_replica_ends_and_all_refuse_alike(
        events in proptest::collection::vec(event(), 1..30), owns in any::<bool>()
    ) {
        let target = store(1, owns);
        for event in events {
            match event {
                Event::Step(step) => {
                    // A store that comes from a snapshot decides as one that saw every step.
                    let other = restored(&target, 9);
                    let applied = target.apply(&unjudged(step.clone()));
                    prop_assert!(matches!(&applied, Ok(Applied::Handoff(_))), "{step:?}: {applied:?}");
                    prop_assert_eq!(&other.apply(&unjudged(step.clone())), &applied);
                    prop_assert_eq!(dump(&other), dump(&target));
                }
                Event::List(version, epoch, group) => {
                    let listed = skv_store::Move { epoch: Epoch(epoch), ..to(2, group) };
                    prop_assert!(target.apply(&assign(version, &[listed])).is_ok());
                }
                Event::Put => drop(execute(&target, v1::Command { shard: SHARD.0, ..put("a", "v") })),
                Event::Ask => ask_all(&target, &[put("a", "v")], &[to(2, 1)]),
            }
        }
    }
}
