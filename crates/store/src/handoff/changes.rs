//! The changes of a shard while it is copied.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use skv_sharding::Revision;

use super::CopyId;
use crate::buckets::Buckets;

/// A key that was deleted, kept so that an older report of it doesn't bring it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) key: Box<[u8]>,
    /// The shard's revision of the deletion.
    pub(crate) revision: Revision,
}

/// The keys that changed since copying began. Each key is in here once, at its newest change, so that
/// the keys that exist never outgrow the shard itself; see [`Backlog`] for the others.
#[derive(Debug)]
pub(crate) struct Changes {
    copy: CopyId,
    since: Revision,
    by_revision: BTreeMap<Revision, Box<[u8]>>,
    /// The bytes of the keys in `by_revision`.
    key_bytes: u64,
    tombstones: Buckets<Tombstone>,
    /// The bytes of the tombstones' keys.
    tombstone_bytes: u64,
}

/// The remains that a source keeps of deleted and forgotten things, only for the sake of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The copy that it is kept for.
    pub copy: CopyId,
    /// The approximate bytes that are kept of deleted keys and forgotten sessions.
    pub gone: u64,
    /// The bytes of all keys and values that exist.
    pub live: u64,
}

/// The cost of a deletion beside its key, in bytes: it is in two places.
const PER_GONE: u64 = 64;
/// The bytes that may always be kept.
const KEPT: u64 = 4 << 20;

impl Backlog {
    /// Returns true if it costs less to copy the shard again.
    pub fn is_too_much(&self) -> bool {
        self.gone > self.live.max(KEPT)
    }
}

impl Changes {
    /// Returns an empty set of changes.
    pub(crate) fn since(since: Revision, copy: CopyId) -> Self {
        Changes {
            copy,
            since,
            by_revision: BTreeMap::new(),
            key_bytes: 0,
            tombstones: Buckets::default(),
            tombstone_bytes: 0,
        }
    }

    /// Returns the copy that the changes are kept for.
    pub(crate) fn copy(&self) -> CopyId {
        self.copy
    }

    /// Keeps the changes for another copy from now on.
    pub(crate) fn rename(&mut self) {
        self.copy.0 = self.copy.0.wrapping_add(1);
    }

    /// Returns the shard's revision when copying began.
    pub(crate) fn begun_at(&self) -> Revision {
        self.since
    }

    /// Returns what is kept of a shard that has `live` bytes, and has forgotten this many sessions.
    pub(crate) fn backlog(&self, live: u64, forgotten: usize) -> Backlog {
        let gone = (self.tombstones.len() + forgotten) as u64 * PER_GONE + 2 * self.tombstone_bytes;
        Backlog { copy: self.copy, gone, live }
    }

    /// Returns the number of all changes and of those that are deletions, and the bytes of their keys.
    pub(crate) fn sizes(&self) -> (usize, usize, u64) {
        (self.by_revision.len(), self.tombstones.len(), self.key_bytes + self.tombstone_bytes)
    }

    /// Returns the deletions, as they are now.
    pub(crate) fn tombstones(&self) -> &Buckets<Tombstone> {
        &self.tombstones
    }

    /// Notes that a key was written, which had the revision `before`, if it existed.
    pub(crate) fn wrote(
        &mut self,
        hash: u64,
        key: &[u8],
        before: Option<Revision>,
        now: Revision,
        hasher: &FixedState,
    ) {
        self.forget_older(hash, key, before, hasher);
        self.note(now, key.into());
    }

    /// Notes that a key was deleted, which had the revision `before`.
    pub(crate) fn deleted(
        &mut self,
        hash: u64,
        key: &[u8],
        before: Revision,
        now: Revision,
        hasher: &FixedState,
    ) {
        self.forget_older(hash, key, Some(before), hasher);
        self.bury(hash, Tombstone { key: key.into(), revision: now }, hasher);
    }

    /// Adds a key of a snapshot, if it changed since copying began.
    pub(crate) fn restore_key(&mut self, key: &[u8], revision: Revision) {
        if revision > self.since {
            self.note(revision, key.into());
        }
    }

    /// Adds a deletion of a snapshot.
    pub(crate) fn restore_tombstone(&mut self, tombstone: Tombstone, hasher: &FixedState) {
        self.bury(hasher.hash_one(&tombstone.key[..]), tombstone, hasher);
    }

    /// Returns the keys whose newest change is later than `after`, in the order of these changes.
    pub(crate) fn after(&self, after: Revision) -> impl Iterator<Item = (Revision, &[u8])> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_revision.range((Excluded(after), Unbounded)).map(|(revision, key)| (*revision, &key[..]))
    }

    /// Frees a part with each item of the iterator.
    pub(crate) fn into_parts(self) -> impl Iterator<Item = ()> {
        self.tombstones.into_parts().chain(self.by_revision.into_iter().map(drop))
    }

    fn note(&mut self, revision: Revision, key: Box<[u8]>) {
        self.key_bytes += key.len() as u64;
        self.by_revision.insert(revision, key);
    }

    fn bury(&mut self, hash: u64, tombstone: Tombstone, hasher: &FixedState) {
        self.note(tombstone.revision, tombstone.key.clone());
        self.tombstone_bytes += tombstone.key.len() as u64;
        self.tombstones.insert(hash, tombstone, |a, b| a.key == b.key, |t| hasher.hash_one(&t.key[..]));
    }

    fn forget_older(&mut self, hash: u64, key: &[u8], before: Option<Revision>, hasher: &FixedState) {
        let buried = || {
            let rehash = |t: &Tombstone| hasher.hash_one(&t.key[..]);
            let buried = self.tombstones.remove(hash, |t| &t.key[..] == key, rehash)?;
            self.tombstone_bytes -= key.len() as u64;
            Some(buried.revision)
        };
        if let Some(before) = before.or_else(buried) {
            let older = self.by_revision.remove(&before);
            self.key_bytes -= older.map_or(0, |key| key.len() as u64);
        }
    }
}
