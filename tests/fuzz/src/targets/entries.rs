//! Log entries, applied to a store. What can be read is applied, or refused, whatever it says; and a
//! replica that begins with a snapshot of the state decides on the next entries as all others do.

#[path = "../../../../crates/store/tests/store/asked.rs"]
mod asked;

use bytes::Bytes;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::handoff_step::{Begin, Freeze, Install, Receive, Step};
use skv_sharding::{ClusterId, Epoch, GroupId, GroupUid, Hash, MapRevision, ShardId};
use skv_store::{ENTRY_VERSION, HandoffStep, Move, Store};

use super::found::found;
use crate::draw::Draw;
use crate::message::Messages;
use crate::trial::Trial;

/// The entries of one log.
const ENTRIES: usize = 60;
/// The logs of one round.
const LOGS: usize = 12;
/// The entries between two looks at a state's snapshot.
const SNAPSHOT_EVERY: usize = 6;
pub(super) const SHARDS: u32 = 4;
/// The copy that the sources of this world name.
const COPY: u64 = 6;

/// Numbers and words that mean something in the store's world.
pub(super) fn teach(draw: &mut Draw) {
    draw.numbers.extend([0, 1, 2, 3, 4, 5, 7, 77, COPY, 70, 100, 1000, 600_000]);
    draw.words.extend(["b", "ab", "12", "value"].map(str::to_owned));
}

/// Returns messages that are valid in that world.
pub(super) fn known() -> anyhow::Result<Messages> {
    let mut messages = Messages::new()?;
    for seq in 1..4 {
        let id = v1::RequestId { session: Some(session()), seq, acked_below: 1 };
        messages.know("shardedkv.v1.RequestId", &id)?;
    }
    for (kind, key) in [(Kind::Put, "a"), (Kind::Append, "a"), (Kind::Delete, "b"), (Kind::Append, "12")] {
        messages.know("shardedkv.v1.Command", &command(kind, key))?;
    }
    messages.know("shardedkv.v1.SessionId", &session())?;
    messages.know("shardedkv.v1.BootstrapRecord", &record())?;
    let key = v1::KeyState { record: "ab".into(), key_length: 1, revision: 3 };
    messages.know("shardedkv.v1.KeyState", &key)?;
    let state = v1::SessionState {
        id: Some(session()),
        acked_below: 1,
        used_revision: 3,
        used_at: 1,
        decided: vec![decided()],
    };
    messages.know("shardedkv.v1.SessionState", &state)?;
    messages.know("shardedkv.v1.SessionState.Decided", &decided())?;
    for step in steps() {
        messages.know("shardedkv.v1.HandoffStep", &step)?;
    }
    for shard in 0..SHARDS {
        messages.know("shardedkv.v1.Move", &v1::Move::from(leaves(shard)))?;
    }
    Ok(messages)
}

fn session() -> v1::SessionId {
    v1::SessionId { opened_at: 1, random: 2 }
}

fn decided() -> v1::session_state::Decided {
    v1::session_state::Decided { seq: 1, revision: 3, success: true, ..Default::default() }
}

fn record() -> v1::BootstrapRecord {
    v1::BootstrapRecord {
        group: 7,
        group_uid: 77,
        shards_owned: (0..3).map(|shard| v1::ShardEpoch { shard, epoch: 1 }).collect(),
        shards: SHARDS,
        hash: v1::Hash::Fnv1 as i32,
        ..v1::BootstrapRecord::default()
    }
}

/// Returns a command with the shard of its key.
fn command(kind: Kind, key: &str) -> v1::Command {
    let shard = Hash::Fnv1.shard(key.as_bytes(), SHARDS).unwrap_or(ShardId(0));
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"value"));
    v1::Command { kind: kind as i32, shard: shard.0, key, value, ..v1::Command::default() }
}

/// Returns the move of a shard to another group.
fn leaves(shard: u32) -> Move {
    Move { shard: ShardId(shard), epoch: Epoch(2), target: GroupId(5), target_uid: GroupUid(70) }
}

/// Returns steps of the handoffs to and from this group.
fn steps() -> Vec<v1::HandoffStep> {
    let contents = Some(v1::Contents::default());
    let steps = [
        (0, Step::Begin(Begin { copy: COPY })),
        (0, Step::Freeze(Freeze { copy: COPY })),
        (3, Step::Receive(Receive { source: 5, source_uid: 70 })),
        (3, Step::Install(Install { contents, ..Install::default() })),
    ];
    steps.map(|(shard, step)| v1::HandoffStep { shard, epoch: 2, step: Some(step) }).into()
}

/// Returns a store with some data, a shard that leaves, and one that comes.
pub(super) fn store() -> anyhow::Result<Store> {
    let store = Store::new(1);
    let moves = [leaves(0), leaves(1)];
    let mut entries = vec![
        skv_store::encode_found(0, ClusterId(5), record(), MapRevision(1))?,
        skv_store::encode_batch(1, usual_commands()),
        skv_store::encode_assign(2, MapRevision(2), moves),
    ];
    let own =
        steps().into_iter().filter(|step| !matches!(step.step, Some(Step::Freeze(_) | Step::Install(_))));
    for step in own {
        entries.push(skv_store::encode_handoff(3, HandoffStep::try_from(step)?));
    }
    for entry in entries {
        store.apply(&entry)?;
    }
    Ok(store)
}

/// Returns commands as clients send them.
pub(super) fn usual_commands() -> Vec<v1::Command> {
    let puts = (0..8).map(|key| command(Kind::Put, &format!("key{key}")));
    let appends = (1..6).map(|seq| {
        let id = Some(v1::RequestId { session: Some(session()), seq, acked_below: 1 });
        v1::Command { id, ..command(Kind::Append, &format!("key{seq}")) }
    });
    puts.chain(appends).collect()
}

/// Applies entries to a new store.
pub(crate) fn apply_all(trial: &mut Trial, entries: Vec<Vec<u8>>) -> Result<(), String> {
    let store = store().map_err(|error| error.to_string())?;
    for (number, entry) in entries.into_iter().enumerate() {
        apply(trial, &store, &entry.into())?;
        if number % SNAPSHOT_EVERY == 0 {
            compare(trial, &store)?;
        }
    }
    compare(trial, &store)
}

/// Applies an entry, as a replica does that judged it before.
fn apply(trial: &mut Trial, store: &Store, entry: &Bytes) -> Result<(), String> {
    let is_readable = trial.read("an entry", entry, || skv_store::readable(entry).is_ok())?;
    if !is_readable {
        trial.refuse();
        return Ok(());
    }
    trial.read("an entry whose growth is judged", entry, || store.growth_of(entry))?;
    let applied = trial.read("an entry that is applied", entry, || store.apply(entry))?;
    if let Err(error) = applied {
        return Err(format!(
            "an entry that can be read isn't applied: {error}\n{}",
            crate::trial::shown(entry)
        ));
    }
    trial.read("a store after an entry", entry, || use_all(store))
}

/// Asks a store for everything that it is asked for.
pub(super) fn use_all(store: &Store) {
    let commands = ["", "a", "key1", "12"].map(|key| command(Kind::Append, key));
    asked::ask_all(store, &commands, &[leaves(1)]);
}

/// Compares a store with one that is made of its snapshot.
fn compare(trial: &mut Trial, store: &Store) -> Result<(), String> {
    let copy = Store::new(9);
    let restored = trial.read("a store's own snapshot", &[], || {
        let mut restore = copy.begin_restore();
        for item in store.view().into_items() {
            let item =
                v1::SnapshotItem::decode(item.encode_to_vec().as_slice()).map_err(|e| e.to_string())?;
            restore.add(item).map_err(|e| e.to_string())?;
        }
        copy.restore(restore.finish().map_err(|e| e.to_string())?);
        Ok::<_, String>(())
    })?;
    restored.map_err(|error| format!("a store can't be made of its own snapshot: {error}"))?;
    if items(store) == items(&copy) { Ok(()) } else { Err("a store of a snapshot differs".to_owned()) }
}

/// Returns all that a store holds, in an order.
fn items(store: &Store) -> Vec<(u32, Vec<u8>)> {
    let mut shard = 0;
    let mut items: Vec<_> = store
        .view()
        .into_items()
        .map(|item| {
            if let Some(v1::snapshot_item::Item::Shard(state)) = &item.item {
                shard = state.shard;
            }
            (shard, item.encode_to_vec())
        })
        .collect();
    items.sort();
    items
}

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    teach(draw);
    let messages = known()?;
    let of = messages.of("shardedkv.v1.Entry")?;
    for _ in 0..LOGS {
        let mut entries = Vec::new();
        for _ in 0..ENTRIES {
            let mut entry = messages.bytes(draw, &of);
            if draw.chance(95) {
                // Of the fields of a message the last one counts.
                let version = v1::Entry { version: ENTRY_VERSION, ..v1::Entry::default() };
                entry.extend(version.encode_to_vec());
            }
            entries.push(entry);
        }
        found(apply_all(trial, entries))?;
    }
    Ok(())
}
