//! The growth that a command or an entry would cause. It decides which of them are refused when there
//! is no room in memory: what shrinks the data, or leaves it as it is, always goes on.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::quality::FixedState;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::entry::Entry;
use skv_proto::v1::handoff_step::Step;
use skv_sharding::ShardId;

use crate::account::{PER_KEY, PER_SESSION};
use crate::entry::decode;
use crate::founded::Founded;
use crate::group::Store;
use crate::sessions::RequestId;
use crate::shard::Shard;

/// The bytes by which a command would make the state larger, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// The bytes of keys and values; negative if they become smaller.
    pub data: i64,
    /// The bytes of sessions that are new to the shard.
    pub sessions: i64,
}

impl Growth {
    /// Returns true if the state becomes larger, and not because somebody came for the first time to
    /// free something: the way out of full memory is open to all. Each key is freed once, so that
    /// such sessions take a small part of what the keys took.
    pub fn fills(&self) -> bool {
        self.data + self.sessions > 0 && self.data >= 0
    }
}

impl Store {
    /// Returns the memory that the state takes, in bytes.
    pub fn memory(&self) -> u64 {
        self.founded.read().as_ref().map_or(0, Founded::held)
    }

    /// Returns the memory that one shard takes, in bytes.
    pub fn memory_of(&self, shard: ShardId) -> u64 {
        let founded = self.founded.read();
        let slot = founded.as_ref().and_then(|founded| founded.slots.get(shard.0 as usize));
        slot.map_or(0, |slot| slot.read().account().held)
    }

    /// Returns the growth that a command would cause now. One that is rejected, or that was answered
    /// before, causes none.
    pub fn growth(&self, command: &v1::Command) -> Growth {
        let founded = self.founded.read();
        let slot = founded.as_ref().and_then(|founded| founded.slots.get(command.shard as usize));
        let Some(slot) = slot.map(|slot| slot.read()) else { return Growth::default() };
        let shard = slot.serving();
        shard.map_or_else(|_| Growth::default(), |shard| shard.growth(command, self.time(), &self.hasher))
    }

    /// Returns true if an entry would make the state larger, as far as can be said before the entries
    /// in front of it are applied. The last step of a handoff counts as none: until it is taken,
    /// nobody serves the shard.
    pub fn grows_by(&self, entry: &Bytes) -> bool {
        match decode(entry) {
            Ok((_, Entry::Batch(batch))) => batch.commands.iter().any(|c| self.growth(c).fills()),
            Ok((_, Entry::Handoff(step))) => matches!(step.step, Some(Step::Chunk(_))),
            _ => false,
        }
    }
}

impl Shard {
    fn growth(&self, command: &v1::Command, time: u64, hasher: &FixedState) -> Growth {
        let id = command.id.as_ref().map(RequestId::try_from).transpose();
        let Ok(id) = id else { return Growth::default() };
        if id.as_ref().is_some_and(|id| self.sessions.admit(id, command.kind(), time, hasher).is_some()) {
            return Growth::default();
        }
        let is_new = id.as_ref().is_some_and(|id| !self.sessions.knows(&id.session, hasher));
        let sessions = if is_new { PER_SESSION.cast_signed() } else { 0 };
        Growth { data: self.data_growth(command, id.is_some(), hasher), sessions }
    }

    fn data_growth(&self, command: &v1::Command, keeps_old: bool, hasher: &FixedState) -> i64 {
        let current = self.get(hasher.hash_one(&command.key[..]), &command.key);
        let revision = current.map_or(0, |record| record.revision.0);
        if command.if_revision.is_some_and(|wanted| wanted != revision) {
            return 0;
        }
        let bytes = |length: usize| (length as u64).cast_signed();
        let (key, value) = (bytes(command.key.len()), bytes(command.value.len()));
        let before = current.map(|record| bytes(record.pair.size()));
        match (command.kind(), before) {
            (Kind::Delete, None) => 0,
            (Kind::Delete, Some(before)) => -(before + PER_KEY.cast_signed()),
            (Kind::Put | Kind::Append, None) => key + value + PER_KEY.cast_signed(),
            (Kind::Put, Some(before)) => key + value - before,
            // The session keeps the value before, to answer the same request again.
            (Kind::Append, Some(before)) => value + if keeps_old { before } else { 0 },
        }
    }
}
