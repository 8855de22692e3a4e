//! The encoding of log entries: the one place that writes and reads them.

use bytes::Bytes;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::entry::Entry;
use skv_sharding::{ClusterId, Incarnation, MapRevision};

use crate::facts::{self, Facts, Limits, RecordError};
use crate::handoff::{HandoffStep, Move};
use crate::usual;

/// The format of the entries that this version writes, and the highest that it reads. The meaning of
/// a format's entries, and the rules by which they are refused, never change: replicas of all
/// versions have to decide alike. A new kind of anything in them is a new format.
pub const ENTRY_VERSION: u32 = 1;

/// The number of commands that take little memory once they are decoded, whatever is in them.
const FEW_COMMANDS: usize = 16 << 10;
// A list has room for up to three times its elements while it grows.
const _: () = assert!(3 * FEW_COMMANDS * size_of::<v1::Command>() <= 16 << 20);

/// An entry that can't be applied: its bytes aren't whole, or only a newer server can read it. The
/// replica must stop: without the entry it would differ from the others. An entry that can be read,
/// but is invalid, is refused instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A newer server wrote the entry.
    #[error(
        "the log holds an entry of format {found}, but this server reads formats up to {supported}: start a newer one"
    )]
    UnsupportedVersion {
        /// The entry's format.
        found: u32,
        /// The highest format that this server reads.
        supported: u32,
    },
    /// The bytes aren't an entry.
    #[error("the log holds an entry that can't be read: {0}")]
    Corrupt(String),
}

fn encode(time: u64, entry: Entry) -> Bytes {
    v1::Entry { version: ENTRY_VERSION, time, entry: Some(entry) }.encode_to_vec().into()
}

/// Returns an entry of commands. `time` is the leader's clock in ms, here and below.
pub fn encode_batch(time: u64, commands: Vec<v1::Command>) -> Bytes {
    encode(time, Entry::Batch(v1::CommandBatch { commands }))
}

/// Returns an entry that founds the group. The limits that the record leaves open are filled in.
pub fn encode_found(
    time: u64,
    cluster: ClusterId,
    record: v1::BootstrapRecord,
    revision: MapRevision,
) -> Result<Bytes, RecordError> {
    let limits = Limits::from(record.limits.unwrap_or_default());
    facts::check_proposed(&limits, &record)?;
    let record = v1::BootstrapRecord { limits: Some(limits.into()), ..record };
    let entry =
        v1::BootstrapRecordEntry { cluster_id: cluster.0, record: Some(record), manager_version: revision.0 };
    Facts::founded(&entry)?;
    Ok(encode(time, Entry::Found(entry)))
}

/// Returns an entry by which the group obeys what the manager ordered under a map revision.
pub fn encode_obey(time: u64, revision: MapRevision) -> Bytes {
    encode(time, Entry::Obey(revision.0))
}

/// Returns an entry that only carries the time.
pub fn encode_tick(time: u64) -> Bytes {
    encode(time, Entry::Tick(v1::entry::Tick {}))
}

/// Returns an entry that revives the group under a new incarnation.
pub fn encode_reset(time: u64, incarnation: Incarnation) -> Bytes {
    encode(time, Entry::Reset(incarnation.0))
}

/// Returns an entry with the manager's list of all moves out of the group.
pub fn encode_assign(time: u64, revision: MapRevision, moves: impl IntoIterator<Item = Move>) -> Bytes {
    let moves = moves.into_iter().map(Into::into).collect();
    encode(time, Entry::Assign(v1::Assignment { manager_version: revision.0, moves }))
}

/// Returns an entry with one step of a handoff.
pub fn encode_handoff(time: u64, step: HandoffStep) -> Bytes {
    encode(time, Entry::Handoff(step.into()))
}

/// Returns an entry by which the group takes no shard any more.
pub fn encode_retire(time: u64) -> Bytes {
    encode(time, Entry::Retire(v1::entry::Retire {}))
}

/// Checks that an entry can be applied, before it is taken into a log; and before it is decoded, that
/// this takes little memory.
pub fn readable(entry: &Bytes) -> Result<(), ApplyError> {
    // The usual entry is read once: nothing but its commands could take more memory than its bytes.
    let commands = usual::commands(entry, ENTRY_VERSION);
    if commands.is_some_and(|commands| commands <= FEW_COMMANDS) {
        return Ok(());
    }
    skv_proto::check_inner::<v1::Entry>(entry).map_err(|excess| ApplyError::Corrupt(excess.to_string()))?;
    if commands.is_some() {
        return Ok(());
    }
    decode(entry).map(drop)
}

/// Reads an entry's time and content. Keys and values share its buffer.
pub(super) fn decode(entry: &Bytes) -> Result<(u64, Entry), ApplyError> {
    let corrupt = |reason: &str| ApplyError::Corrupt(reason.to_owned());
    let decoded = v1::Entry::decode(entry.clone()).map_err(|e| ApplyError::Corrupt(e.to_string()))?;
    match decoded.version {
        1..=ENTRY_VERSION => {}
        0 => return Err(corrupt("it has no version")),
        found => return Err(ApplyError::UnsupportedVersion { found, supported: ENTRY_VERSION }),
    }
    let payload = decoded.entry.ok_or_else(|| corrupt("it is of no kind that is known here"))?;
    match &payload {
        Entry::Batch(batch) => {
            let is_unknown = |c: &&v1::Command| v1::command::Kind::try_from(c.kind).is_err();
            if let Some(command) = batch.commands.iter().find(is_unknown) {
                return Err(ApplyError::Corrupt(format!("it has a command of kind {}", command.kind)));
            }
        }
        Entry::Found(v1::BootstrapRecordEntry { record: Some(record), .. })
            if v1::Hash::try_from(record.hash).is_err() =>
        {
            return Err(ApplyError::Corrupt(format!("it names hash {}", record.hash)));
        }
        _ => {}
    }
    Ok((decoded.time, payload))
}
