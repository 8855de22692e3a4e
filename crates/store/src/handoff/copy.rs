//! The data that a source's leader reads from its store to send it to the target.

use skv_proto::v1;
use skv_proto::v1::handoff_step::{Chunk, Install};
use skv_sharding::Revision;

use super::{Changes, CopyId, Tombstone};
use crate::buckets::Buckets;
use crate::record::Record;
use crate::retained::Hold;
use crate::sessions::{Decision, Session, SessionId};
use crate::shard::Shard;

/// The position up to which the target has a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    copy: CopyId,
    revision: Revision,
    sessions: Revision,
    forgotten: usize,
}

impl Position {
    /// Returns the copy in which the position is.
    pub fn copy(&self) -> CopyId {
        self.copy
    }

    /// Returns the position of a target that has the keys from before copying began, and no sessions.
    pub(crate) fn beginning(changes: &Changes) -> Self {
        let (copy, revision) = (changes.copy(), changes.begun_at());
        Position { copy, revision, sessions: Revision(0), forgotten: 0 }
    }
}

/// The shard as it was at one moment, shared with the store bucket by bucket. It also has what was
/// deleted and forgotten since copying began: the target may have that from an earlier leader.
#[derive(Debug)]
pub struct BaseCopy {
    position: Position,
    bytes: u64,
    keys: Buckets<Record>,
    sessions: Buckets<Session>,
    tombstones: Buckets<Tombstone>,
    forgotten: Vec<SessionId>,
    hold: Hold,
}

/// The changes after a position.
#[derive(Debug)]
pub struct Difference {
    /// The chunk to be sent.
    pub chunk: Chunk,
    /// The position up to which the target has the shard then.
    pub position: Position,
    /// True if there is more.
    pub more: bool,
    /// The revision of the shard up to which the target has everything then.
    pub reached: u64,
    /// The number of revisions of the shard by which it is behind then.
    pub behind: u64,
}

impl BaseCopy {
    pub(crate) fn of(shard: &Shard, changes: &Changes, hold: Hold) -> Self {
        BaseCopy {
            position: Position {
                copy: changes.copy(),
                revision: shard.revision,
                sessions: shard.revision,
                forgotten: shard.sessions.forgotten().len(),
            },
            bytes: shard.key_value_bytes,
            keys: shard.keys.clone(),
            sessions: shard.sessions.view(),
            tombstones: changes.tombstones().clone(),
            forgotten: shard.sessions.forgotten().to_vec(),
            hold,
        }
    }

    /// Returns the position up to which the target has the shard when it has this copy.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns all of it in chunks of up to about `bytes` bytes; a larger item goes alone. Buckets are let go of as they are read.
    pub fn into_chunks(self, bytes: usize) -> impl Iterator<Item = Chunk> + Send {
        let (copy, hold) = (self.position.copy.0, self.hold);
        let keys = self.keys.into_items().map(|record| Item::Key(record.into()));
        let sessions = self.sessions.into_items().map(|session| Item::Session(fitting(session).into()));
        let tombstones = self.tombstones.into_items().map(|tombstone| Item::Tombstone(tombstone.into()));
        let forgotten = self.forgotten.into_iter().map(|id| Item::Forgotten(id.into()));
        let mut items = keys.chain(sessions).chain(tombstones).chain(forgotten).peekable();
        std::iter::from_fn(move || {
            let _ = &hold;
            let (mut chunk, mut size) = (Chunk { copy, ..Chunk::default() }, 0);
            while let Some(item) = items.next_if(|item| size == 0 || size + item.size() <= bytes) {
                size += item.size();
                match item {
                    Item::Key(key) => chunk.keys.push(key),
                    Item::Session(session) => chunk.sessions.push(session),
                    Item::Tombstone(tombstone) => chunk.tombstones.push(tombstone),
                    Item::Forgotten(id) => chunk.forgotten.push(id),
                }
            }
            (size > 0).then_some(chunk)
        })
    }
}

enum Item {
    Key(v1::KeyState),
    Session(v1::SessionState),
    Tombstone(v1::Tombstone),
    Forgotten(v1::SessionId),
}

/// The approximate size of an item's frame in bytes.
const FRAME: usize = 32;

impl Item {
    fn size(&self) -> usize {
        match self {
            Item::Key(key) => FRAME + key.record.len(),
            Item::Session(session) => FRAME + session_size(session),
            Item::Tombstone(tombstone) => FRAME + tombstone.key.len(),
            Item::Forgotten(_) => FRAME,
        }
    }
}

/// The bytes of old values that a session takes along: with the largest value beside it a chunk must go
/// into an entry of the smallest log.
const OLD_VALUES: usize = 2 << 20;

/// Returns a session that goes into a chunk. If its old values are too many, its oldest are forgotten as
/// they are where a shard keeps too many: requests that come again are refused as applied.
fn fitting(mut session: Session) -> Session {
    let sizes = session.decided.iter().filter_map(|decided| Some(decided.decision.old_value()?.1));
    let mut excess = sizes.sum::<usize>().saturating_sub(OLD_VALUES);
    for decided in &mut session.decided {
        if excess == 0 {
            break;
        }
        if let Some((revision, bytes)) = decided.decision.old_value() {
            decided.decision = Decision::Forgotten(revision);
            excess = excess.saturating_sub(bytes);
        }
    }
    session
}

fn session_size(session: &v1::SessionState) -> usize {
    session.decided.iter().map(|decided| FRAME + decided.old_record.len()).sum()
}

impl Difference {
    /// Returns what changed after `after`, up to about `bytes` bytes of keys, and as many of
    /// sessions; `None` if that is a position in another copy.
    pub(crate) fn after(
        shard: &Shard,
        changes: &Changes,
        after: Position,
        bytes: usize,
        hash: impl Fn(&[u8]) -> u64,
    ) -> Option<Self> {
        if after.copy != changes.copy() {
            return None;
        }
        let mut chunk = Chunk { copy: after.copy.0, ..Chunk::default() };
        let (mut position, mut size, mut more) = (after, 0, false);
        for (revision, key) in changes.after(after.revision) {
            let record = shard.get(hash(key), key);
            let item = FRAME + key.len() + record.map_or(0, |record| record.pair.value().len());
            if size > 0 && size + item > bytes {
                more = true;
                break;
            }
            size += item;
            match record {
                Some(record) => chunk.keys.push(record.clone().into()),
                None => chunk.tombstones.push(Tombstone { key: key.into(), revision }.into()),
            }
            position.revision = revision;
        }
        if !more {
            position.revision = shard.revision;
        }
        let forgotten = shard.sessions.forgotten().get(after.forgotten..)?;
        let sent = &forgotten[..forgotten.len().min(bytes / FRAME)];
        more |= sent.len() < forgotten.len();
        chunk.forgotten = sent.iter().map(|id| (*id).into()).collect();
        position.forgotten += sent.len();
        let mut used: Vec<_> = shard.sessions.used_after(after.sessions).collect();
        // No two have the same last use, since each is a revision of its own.
        let last_use = |session: &&Session| session.used_revision;
        let most = bytes / FRAME;
        if used.len() > most {
            used.select_nth_unstable_by_key(most, last_use);
        }
        let all = used.len();
        used.truncate(most);
        used.sort_unstable_by_key(last_use);
        // Beside a value that is larger than all of the chunk there is no place for sessions.
        let is_full = size > bytes;
        let mut size = 0;
        for session in used.into_iter().take_while(|_| !is_full) {
            let last_use = session.used_revision;
            let session = v1::SessionState::from(fitting(session.clone()));
            let item = FRAME + session_size(&session);
            if size > 0 && size + item > bytes {
                break;
            }
            size += item;
            position.sessions = last_use;
            chunk.sessions.push(session);
        }
        if chunk.sessions.len() < all {
            more = true;
        } else {
            position.sessions = shard.revision;
        }
        let reached = position.revision.min(position.sessions).0;
        Some(Difference { chunk, position, more, reached, behind: shard.revision.0.saturating_sub(reached) })
    }

    /// Returns the last difference, for a shard that changes no more.
    pub(crate) fn into_install(self, shard: &Shard) -> Install {
        Install {
            rest: Some(self.chunk),
            revision: shard.revision.0,
            floor: shard.sessions.floor(),
            contents: Some(shard.contents()),
        }
    }
}

impl From<Tombstone> for v1::Tombstone {
    fn from(tombstone: Tombstone) -> Self {
        Self { key: tombstone.key.into_vec().into(), revision: tombstone.revision.0 }
    }
}

impl From<v1::Tombstone> for Tombstone {
    fn from(wire: v1::Tombstone) -> Self {
        Self { key: wire.key.as_ref().into(), revision: Revision(wire.revision) }
    }
}
