//! A shard that is being received: invisible until it is whole.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use skv_proto::v1;
use skv_sharding::{Epoch, Revision};

use super::{CopyId, Peer, StepRefusal, Tombstone};
use crate::Limits;
use crate::buckets::Buckets;
use crate::deferred_drop::Deferred;
use crate::record::Record;
use crate::restore_error::RestoreError;
use crate::sessions::{Session, SessionId, Sessions};
use crate::shard::Shard;

/// The parts of a shard that have come, all of one copy. Of two reports of the same thing the one
/// with the higher revision wins, so that chunks may come in any order, any number of times, and from
/// two leaders at once.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) epoch: Epoch,
    pub(crate) source: Peer,
    pub(crate) copy: CopyId,
    /// The shard, with its keys only.
    pub(crate) shard: Shard,
    pub(crate) tombstones: Buckets<Tombstone>,
    pub(crate) sessions: Buckets<Session>,
    pub(crate) forgotten: BTreeSet<SessionId>,
    /// The bytes of the tombstones' keys.
    pub(crate) tombstone_bytes: u64,
    /// The number of decided requests of all sessions, and the number and bytes of old values that
    /// they keep.
    pub(crate) decided: usize,
    pub(crate) old_values: (usize, usize),
}

/// The items of a chunk, read.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) copy: CopyId,
    keys: Vec<Record>,
    tombstones: Vec<Tombstone>,
    sessions: Vec<Session>,
    forgotten: Vec<SessionId>,
}

impl TryFrom<v1::handoff_step::Chunk> for Chunk {
    type Error = RestoreError;
    fn try_from(wire: v1::handoff_step::Chunk) -> Result<Self, RestoreError> {
        Ok(Chunk {
            copy: CopyId(wire.copy),
            keys: wire.keys.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            tombstones: wire.tombstones.into_iter().map(Into::into).collect(),
            sessions: wire.sessions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            forgotten: wire.forgotten.into_iter().map(Into::into).collect(),
        })
    }
}

impl Staged {
    /// Returns a shard of which nothing has come yet.
    pub(crate) fn new(epoch: Epoch, source: Peer, copy: CopyId) -> Self {
        Staged {
            epoch,
            source,
            copy,
            shard: Shard::new(epoch),
            tombstones: Buckets::default(),
            sessions: Buckets::default(),
            forgotten: BTreeSet::new(),
            tombstone_bytes: 0,
            decided: 0,
            old_values: (0, 0),
        }
    }

    /// Takes a chunk in.
    pub(crate) fn add(&mut self, chunk: Chunk, hasher: &FixedState) {
        chunk.keys.into_iter().for_each(|record| self.add_key(record, hasher));
        chunk.tombstones.into_iter().for_each(|tombstone| self.add_tombstone(tombstone, hasher));
        chunk.forgotten.into_iter().for_each(|id| self.forget(id, hasher));
        chunk.sessions.into_iter().for_each(|session| self.add_session(session, hasher));
    }

    /// Returns the parts that aren't freed at once.
    pub(crate) fn into_deferred(self) -> Vec<Deferred> {
        vec![Deferred::new(self.shard.keys.into_parts()), Deferred::new(self.tombstones.into_parts())]
    }

    fn add_key(&mut self, record: Record, hasher: &FixedState) {
        let key = record.pair.key();
        let hash = hasher.hash_one(key);
        let buried = self.tombstones.find(hash, |t| &t.key[..] == key).map(|t| t.revision);
        let known = self.shard.get(hash, key).map(|known| known.revision);
        if known.max(buried).is_none_or(|newest| newest < record.revision) {
            self.shard.restore(record, hasher);
        }
    }

    pub(crate) fn add_tombstone(&mut self, tombstone: Tombstone, hasher: &FixedState) {
        let hash = hasher.hash_one(&tombstone.key[..]);
        let buried = self.tombstones.find(hash, |t| t.key == tombstone.key).map(|t| t.revision);
        if buried.is_some_and(|known| known >= tombstone.revision) {
            return;
        }
        if self.shard.get(hash, &tombstone.key).is_some_and(|known| known.revision < tombstone.revision) {
            self.shard.remove(hash, &tombstone.key, hasher);
        }
        if buried.is_none() {
            self.tombstone_bytes += tombstone.key.len() as u64;
        }
        self.tombstones.insert(hash, tombstone, |a, b| a.key == b.key, |t| hasher.hash_one(&t.key[..]));
    }

    pub(crate) fn add_session(&mut self, session: Session, hasher: &FixedState) {
        if self.forgotten.contains(&session.id) {
            return;
        }
        let hash = hasher.hash_one(session.id);
        let known = self.sessions.find(hash, |known| known.id == session.id);
        if known.is_none_or(|known| known.used_revision < session.used_revision) {
            let (count, bytes) = session.old_values();
            self.decided += session.decided.len();
            self.old_values = (self.old_values.0 + count, self.old_values.1 + bytes);
            let older = self.sessions.insert(hash, session, |a, b| a.id == b.id, |s| hasher.hash_one(s.id));
            self.uncount(older);
        }
    }

    fn uncount(&mut self, gone: Option<Session>) {
        let Some(gone) = gone else { return };
        let (count, bytes) = gone.old_values();
        self.decided -= gone.decided.len();
        self.old_values = (self.old_values.0 - count, self.old_values.1 - bytes);
    }

    /// Forgets a session. One that the source forgot may have been used after it was last copied:
    /// kept, it would take a repeated request for a new one.
    fn forget(&mut self, id: SessionId, hasher: &FixedState) {
        let rehash = |session: &Session| hasher.hash_one(session.id);
        let gone = self.sessions.remove(hasher.hash_one(id), |session| session.id == id, rehash);
        self.uncount(gone);
        self.forgotten.insert(id);
    }

    /// Returns the shard as it is served from now on, if it is what the source had.
    pub(crate) fn into_shard(
        self,
        install: &v1::handoff_step::Install,
        time: u64,
        limits: &Limits,
        hasher: &FixedState,
    ) -> Result<Shard, StepRefusal> {
        let mut shard = self.shard;
        shard.revision = Revision(install.revision);
        shard.sessions = Sessions::with_floor(install.floor, self.sessions.len());
        for mut session in self.sessions.into_items() {
            // Clocks of two groups differ: here the session's time to live begins again.
            session.used_at = time;
            shard.sessions.restore(session, limits, hasher);
        }
        shard.sessions.keep_to_budget(limits, hasher);
        if Some(shard.contents()) == install.contents { Ok(shard) } else { Err(StepRefusal::Incomplete) }
    }
}
