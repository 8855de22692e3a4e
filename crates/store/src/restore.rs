//! The whole state from a stream of items.

use foldhash::quality::FixedState;
use skv_memory::Budget;
use skv_proto::v1;
use skv_proto::v1::shard_state;
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::{Epoch, GroupId, GroupUid, Revision};

use crate::buckets::Buckets;
use crate::facts::Facts;
use crate::founded::Founded;
use crate::handoff::{CopyId, Peer, Staged};
use crate::outline::Outline;
use crate::record::Record;
use crate::restore_error::RestoreError::{self, Contradiction};
use crate::sessions::Sessions;
use crate::shard::Shard;
use crate::slot::{Holding, Owned, Slot};

/// Puts a state together from the items of a view.
#[derive(Debug)]
pub struct Restore {
    hasher: FixedState,
    budget: Budget,
    outline: Outline,
    group: Option<(u64, Option<Founded>)>,
    /// The shard whose items come.
    shard: Option<(u32, Slot)>,
}

/// A state that [`Store::restore`](super::Store::restore) takes.
#[derive(Debug)]
pub struct Restored {
    pub(super) time: u64,
    pub(super) founded: Option<Founded>,
}

impl Restore {
    /// Begins a state for the store that uses this hasher.
    pub(super) fn new(hasher: FixedState, budget: Budget) -> Self {
        Self { hasher, budget, outline: Outline::default(), group: None, shard: None }
    }

    /// Adds the next item.
    pub fn add(&mut self, item: v1::SnapshotItem) -> Result<(), RestoreError> {
        let before = self.shard.as_ref().map(|(shard, slot)| (*shard, slot.account().held));
        self.take(item)?;
        // Counted as it comes, since a shard may have most of the data.
        let (Some((shard, slot)), Ok(founded)) = (&self.shard, self.founded()) else { return Ok(()) };
        let before = before.filter(|(before, _)| before == shard).map_or(0, |(_, held)| held);
        founded.count(before, slot.account().held);
        Ok(())
    }

    fn take(&mut self, item: v1::SnapshotItem) -> Result<(), RestoreError> {
        let item = item.item.ok_or(Contradiction("an item of an unknown kind"))?;
        self.outline.note(&item)?;
        match item {
            Item::Group(group) => {
                let facts = group.founded.map(Facts::try_from).transpose()?;
                let founded = facts.map(|facts| Founded::new(facts, &self.budget));
                self.group = Some((group.time, founded));
                Ok(())
            }
            Item::Shard(mut state) => {
                self.end_shard()?;
                let holding = holding(&mut state)?;
                let fence = state.fence.take().ok_or(Contradiction("a shard without its fence"))?.into();
                self.shard = Some((state.shard, Slot { fence, holding }));
                Ok(())
            }
            Item::Key(key) => {
                let record = Record::try_from(key)?;
                match held(&mut self.shard) {
                    Some(Holding::Owned(owned)) => {
                        if let Some(changes) = owned.changes_mut() {
                            changes.restore_key(record.pair.key(), record.revision);
                        }
                        owned.shard.restore(record, &self.hasher);
                    }
                    Some(Holding::Staged(staged)) => staged.shard.restore(record, &self.hasher),
                    _ => return Err(Contradiction("a key outside of a shard")),
                }
                Ok(())
            }
            Item::Session(session) => {
                let (session, limits) = (session.try_into()?, self.founded()?.facts.limits);
                match held(&mut self.shard) {
                    Some(Holding::Owned(owned)) => {
                        owned.shard.sessions.restore(session, &limits, &self.hasher);
                    }
                    Some(Holding::Staged(staged)) => staged.add_session(session, &self.hasher),
                    _ => return Err(Contradiction("a session outside of a shard")),
                }
                Ok(())
            }
            Item::Tombstone(tombstone) => {
                let tombstone = tombstone.into();
                match held(&mut self.shard) {
                    Some(Holding::Owned(owned)) => owned
                        .changes_mut()
                        .ok_or(Contradiction("a tombstone in a shard that isn't copied"))?
                        .restore_tombstone(tombstone, &self.hasher),
                    Some(Holding::Staged(staged)) => staged.add_tombstone(tombstone, &self.hasher),
                    _ => return Err(Contradiction("a tombstone outside of a shard")),
                }
                Ok(())
            }
            Item::Forgotten(id) => {
                match held(&mut self.shard) {
                    Some(Holding::Owned(owned)) => owned.shard.sessions.restore_forgotten(id.into()),
                    Some(Holding::Staged(staged)) => {
                        staged.forgotten.insert(id.into());
                    }
                    _ => return Err(Contradiction("a forgotten session outside of a shard")),
                }
                Ok(())
            }
        }
    }

    /// Returns the state, once all items were added.
    pub fn finish(mut self) -> Result<Restored, RestoreError> {
        self.outline.finish()?;
        self.end_shard()?;
        let (time, founded) = self.group.ok_or(Contradiction("no group"))?;
        Ok(Restored { time, founded })
    }

    fn founded(&self) -> Result<&Founded, RestoreError> {
        self.group
            .as_ref()
            .and_then(|(_, founded)| founded.as_ref())
            .ok_or(Contradiction("a shard without a group"))
    }

    fn end_shard(&mut self) -> Result<(), RestoreError> {
        let Some((shard, slot)) = self.shard.take() else { return Ok(()) };
        let place = self.founded()?.slots.get(shard as usize);
        *place.ok_or(Contradiction("a shard beyond the number of shards"))?.write() = slot;
        Ok(())
    }
}

/// Returns the holding that the next items belong to.
fn held(shard: &mut Option<(u32, Slot)>) -> Option<&mut Holding> {
    shard.as_mut().map(|(_, slot)| &mut slot.holding)
}

/// Reads the holding that a shard's state describes, without the items that follow.
fn holding(state: &mut v1::ShardState) -> Result<Holding, RestoreError> {
    Ok(match state.holding.take() {
        None => Holding::Nothing,
        Some(shard_state::Holding::Owned(owned)) => {
            let mut shard = Shard::new(Epoch(owned.epoch));
            shard.revision = Revision(state.revision);
            shard.keys = Buckets::with_capacity(state.keys as usize);
            shard.sessions = Sessions::with_floor(state.floor, state.sessions as usize);
            let owned = Owned { shard, outgoing: owned.outgoing.map(TryInto::try_into).transpose()? };
            Holding::Owned(Box::new(owned.tracking()))
        }
        Some(shard_state::Holding::Received(received)) => {
            let source = Peer { group: GroupId(received.source), uid: GroupUid(received.source_uid) };
            let staged = Staged::new(Epoch(received.epoch), source, CopyId(received.copy));
            Holding::Staged(Box::new(staged))
        }
    })
}
