//! What changes in a shard while it is copied.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use skv_sharding::Revision;

use crate::store::buckets::Buckets;

/// A key that was deleted, so that an older word about it doesn't bring it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Tombstone {
    pub(in crate::store) key: Box<[u8]>,
    /// The shard's revision of the deletion.
    pub(in crate::store) revision: Revision,
}

/// The keys that changed since copying began. Each key is in here once, at its newest change,
/// so that this never outgrows the keys themselves.
#[derive(Debug)]
pub(in crate::store) struct Changes {
    since: Revision,
    by_revision: BTreeMap<Revision, Box<[u8]>>,
    tombstones: Buckets<Tombstone>,
}

impl Changes {
    /// None yet.
    pub(in crate::store) fn since(since: Revision) -> Self {
        Changes { since, by_revision: BTreeMap::new(), tombstones: Buckets::default() }
    }

    /// The shard's revision when copying began.
    pub(in crate::store) fn begun_at(&self) -> Revision {
        self.since
    }

    /// The deletions, as they are now.
    pub(in crate::store) fn tombstones(&self) -> &Buckets<Tombstone> {
        &self.tombstones
    }

    /// A key was written, which had the revision `before`, if it was there.
    pub(in crate::store) fn wrote(
        &mut self,
        hash: u64,
        key: &[u8],
        before: Option<Revision>,
        now: Revision,
        hasher: &FixedState,
    ) {
        self.forget_older(hash, key, before, hasher);
        self.by_revision.insert(now, key.into());
    }

    /// A key was deleted, which had the revision `before`.
    pub(in crate::store) fn deleted(
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
    pub(in crate::store) fn restore_key(&mut self, key: &[u8], revision: Revision) {
        if revision > self.since {
            self.by_revision.insert(revision, key.into());
        }
    }

    /// Adds a deletion of a snapshot.
    pub(in crate::store) fn restore_tombstone(&mut self, tombstone: Tombstone, hasher: &FixedState) {
        self.bury(hasher.hash_one(&tombstone.key[..]), tombstone, hasher);
    }

    /// The keys whose newest change is later than `after`, in the order of those.
    pub(in crate::store) fn after(&self, after: Revision) -> impl Iterator<Item = (Revision, &[u8])> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_revision.range((Excluded(after), Unbounded)).map(|(revision, key)| (*revision, &key[..]))
    }

    /// Frees a part with each item of the iterator.
    pub(in crate::store) fn into_parts(self) -> impl Iterator<Item = ()> {
        self.tombstones.into_parts().chain(self.by_revision.into_iter().map(drop))
    }

    fn bury(&mut self, hash: u64, tombstone: Tombstone, hasher: &FixedState) {
        self.by_revision.insert(tombstone.revision, tombstone.key.clone());
        self.tombstones.insert(hash, tombstone, |a, b| a.key == b.key, |t| hasher.hash_one(&t.key[..]));
    }

    fn forget_older(&mut self, hash: u64, key: &[u8], before: Option<Revision>, hasher: &FixedState) {
        let buried = || {
            let rehash = |t: &Tombstone| hasher.hash_one(&t.key[..]);
            Some(self.tombstones.remove(hash, |t| &t.key[..] == key, rehash)?.revision)
        };
        if let Some(before) = before.or_else(buried) {
            self.by_revision.remove(&before);
        }
    }
}
