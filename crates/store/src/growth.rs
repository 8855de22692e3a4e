//! The growth that a command or an entry would cause. By it the leader's gate (`memory.rs` in `skv-replica`)
//! refuses some of them when there is no room in memory: what shrinks the data, or leaves it as it is, goes on.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::quality::FixedState;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::entry::Entry;
use skv_proto::v1::handoff_step::{Chunk, Step};
use skv_sharding::{Epoch, ShardId};

use crate::account::{PER_DECIDED, PER_KEY, PER_OLD_VALUE, PER_SESSION, PER_TOMBSTONE, rounded};
use crate::entry::decode;
use crate::founded::Founded;
use crate::group::Store;
use crate::handoff::Staged;
use crate::sessions::RequestId;
use crate::shard::Shard;
use crate::slot::{Holding, Slot};

/// The bytes by which a command would make the state larger, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// The bytes of keys and values; negative if they become smaller.
    pub data: i64,
    /// The bytes of the value that is replaced, if a view keeps it: until that ends.
    pub kept: i64,
    /// The bytes of sessions that are new to the shard.
    pub sessions: i64,
    /// The bytes of decided requests; negative if the command releases more than it adds.
    pub decided: i64,
}

impl Growth {
    /// Returns true if the state becomes larger, and not because somebody came for the first time to
    /// free something: the way out of full memory is open to all. Each key is freed once, so that
    /// such sessions take a small part of what the keys took.
    pub fn fills(&self) -> bool {
        self.data + self.sessions > 0 && self.data >= 0
    }

    /// Returns true if the command leaves the data as it is, or makes it less, and its sender is known to the
    /// shard: if anything grows, it is what the session keeps of the request while that is open. Followers
    /// take such commands whatever they have, so that the leader alone bounds what is kept of them.
    pub fn is_record(&self) -> bool {
        self.data <= 0 && self.kept == 0 && self.sessions == 0
    }

    /// Returns the bytes by which the state becomes larger; 0 if it doesn't, or if the command frees as much
    /// as a key takes. That is the way out, and however full memory is, it stays open to a sender that comes
    /// for the first time: its session takes twice as much, but what there is can be freed only once.
    pub fn bytes(&self) -> u64 {
        if self.data + self.kept <= -signed(PER_KEY) {
            return 0;
        }
        (self.data + self.kept + self.sessions + self.decided).try_into().unwrap_or(0)
    }
}

impl Store {
    /// Returns the memory that the state takes, in bytes.
    pub fn memory(&self) -> u64 {
        self.founded.read().as_ref().map_or(0, Founded::held)
    }

    /// Returns the memory that the sessions of all shards take for requests that are decided and still open,
    /// beyond one of each session. Visits every shard.
    pub fn open_records(&self) -> u64 {
        let founded = self.founded.read();
        let records = founded.iter().flat_map(|founded| founded.owned(|owned| owned.shard.sessions.open()));
        records.map(|(_, count)| count as u64 * PER_DECIDED).sum()
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
        let (founded, index) = (self.founded.read(), command.shard as usize);
        let slot = founded.as_ref().and_then(|founded| Some((founded, founded.slots.get(index)?.read())));
        let Some((founded, slot)) = slot else { return Growth::default() };
        let Ok(shard) = slot.serving() else { return Growth::default() };
        shard.growth(command, self.time(), founded.retained[index].has_views(), &self.hasher)
    }

    /// Returns the bytes by which the commands of an entry, or the part of a shard in it, would make the
    /// state larger, as far as can be said before the entries in front of it are applied. Nothing frees
    /// room for another: they may be refused. Records of requests that leave the data as it is count as
    /// none, nor does the last step of a handoff: until it is taken, nobody serves the shard.
    pub fn growth_of(&self, entry: &Bytes) -> u64 {
        match decode(entry) {
            Ok((_, Entry::Batch(batch))) => {
                let growths = batch.commands.iter().map(|command| self.growth(command));
                growths.filter(|growth| !growth.is_record()).map(|growth| growth.bytes()).sum()
            }
            Ok((_, Entry::Handoff(v1::HandoffStep { shard, epoch, step: Some(Step::Chunk(chunk)) }))) => {
                self.growth_by(ShardId(shard), Epoch(epoch), &chunk)
            }
            _ => 0,
        }
    }

    /// Returns the bytes by which a part of a shard that arrives would make the state larger. A part that
    /// came before causes none: what is sent again needn't wait for room.
    pub fn growth_by(&self, shard: ShardId, epoch: Epoch, chunk: &Chunk) -> u64 {
        let founded = self.founded.read();
        let slot = founded.as_ref().and_then(|founded| founded.slots.get(shard.0 as usize));
        slot.map_or(0, |slot| slot.read().growth_by(epoch, chunk, &self.hasher))
    }
}

impl Slot {
    fn growth_by(&self, epoch: Epoch, chunk: &Chunk, hasher: &FixedState) -> u64 {
        if epoch <= self.fence.owned {
            return 0;
        }
        let (known, replaced) = match &self.holding {
            Holding::Staged(staged) if staged.epoch == epoch && staged.copy.0 == chunk.copy => {
                (Some(&**staged), 0)
            }
            // It takes the place of the parts of another copy.
            Holding::Staged(staged) if staged.epoch == epoch => (None, self.account().held),
            _ => (None, 0),
        };
        let is_new_key = |key: &&v1::KeyState| known.is_none_or(|staged| !staged.has_key(key, hasher));
        let is_new = |session: &&v1::SessionState| known.is_none_or(|staged| !staged.has(session, hasher));
        let keys = chunk.keys.iter().filter(is_new_key).map(|key| rounded(key.record.len() as u64) + PER_KEY);
        let sessions = chunk.sessions.iter().filter(is_new).map(|session| {
            let old_values: usize = session.decided.iter().map(|decided| decided.old_record.len()).sum();
            PER_SESSION + session.decided.len() as u64 * PER_DECIDED + old_values as u64
        });
        let is_new_tombstone =
            |tombstone: &&v1::Tombstone| known.is_none_or(|staged| !staged.has_tombstone(tombstone, hasher));
        let tombstones = chunk.tombstones.iter().filter(is_new_tombstone);
        let tombstones = tombstones.map(|tombstone| PER_TOMBSTONE + tombstone.key.len() as u64);
        (keys.sum::<u64>() + sessions.sum::<u64>() + tombstones.sum::<u64>()).saturating_sub(replaced)
    }
}

impl Staged {
    /// Returns true if this report of a key, or a newer one, has come.
    fn has_key(&self, key: &v1::KeyState, hasher: &FixedState) -> bool {
        let name = key.record.get(..key.key_length as usize).unwrap_or_default();
        let known = self.shard.get(hasher.hash_one(name), name);
        known.is_some_and(|known| known.revision.0 >= key.revision)
    }

    /// Returns true if this report of a deletion, or a newer one, has come.
    fn has_tombstone(&self, tombstone: &v1::Tombstone, hasher: &FixedState) -> bool {
        let known =
            self.tombstones.find(hasher.hash_one(&tombstone.key[..]), |t| t.key[..] == tombstone.key[..]);
        known.is_some_and(|known| known.revision.0 >= tombstone.revision)
    }

    /// Returns true if this report of a session, or a newer one, has come.
    fn has(&self, session: &v1::SessionState, hasher: &FixedState) -> bool {
        let Some(id) = session.id.map(crate::sessions::SessionId::from) else { return false };
        let known = self.sessions.find(hasher.hash_one(id), |known| known.id == id);
        known.is_some_and(|known| known.used_revision.0 >= session.used_revision)
    }
}

impl Shard {
    fn growth(&self, command: &v1::Command, time: u64, is_viewed: bool, hasher: &FixedState) -> Growth {
        let id = command.id.as_ref().map(RequestId::try_from).transpose();
        let Ok(id) = id else { return Growth::default() };
        if id.as_ref().is_some_and(|id| self.sessions.admit(id, command.kind(), time, hasher).is_some()) {
            return Growth::default();
        }
        let (data, kept) = self.data_growth(command, id.is_some(), is_viewed, hasher);
        let Some(id) = id else { return Growth { data, kept, ..Growth::default() } };
        let Some((released, (old_values, old_bytes))) = self.sessions.released_by(&id, hasher) else {
            return Growth { data, kept, sessions: signed(PER_SESSION), decided: 0 };
        };
        let freed = released as u64 * PER_DECIDED + old_values as u64 * PER_OLD_VALUE + old_bytes as u64;
        Growth { data, kept, sessions: 0, decided: signed(PER_DECIDED) - signed(freed) }
    }

    /// Returns the growth of keys and values, and the bytes that a view keeps.
    fn data_growth(
        &self,
        command: &v1::Command,
        keeps_old: bool,
        is_viewed: bool,
        hasher: &FixedState,
    ) -> (i64, i64) {
        let current = self.get(hasher.hash_one(&command.key[..]), &command.key);
        let revision = current.map_or(0, |record| record.revision.0);
        if command.if_revision.is_some_and(|wanted| wanted != revision) {
            return (0, 0);
        }
        let (key, value) = (command.key.len() as u64, command.value.len() as u64);
        let before = current.map(|record| record.pair.size() as u64);
        let replaced = signed(before.map_or(0, rounded));
        let kept = if is_viewed { replaced } else { 0 };
        match (command.kind(), before) {
            (Kind::Delete, None) => (0, 0),
            (Kind::Delete, Some(_)) => (-replaced - signed(PER_KEY), 0),
            (Kind::Put | Kind::Append, None) => (signed(rounded(key + value) + PER_KEY), 0),
            (Kind::Put, Some(_)) => (signed(rounded(key + value)) - replaced, kept),
            (Kind::Append, Some(before)) => {
                // The session keeps the value before, to answer the same request again.
                let old_value = if keeps_old { before + PER_OLD_VALUE } else { 0 };
                (signed(rounded(before + value) + old_value) - replaced, kept)
            }
        }
    }
}

fn signed(bytes: u64) -> i64 {
    bytes.cast_signed()
}
