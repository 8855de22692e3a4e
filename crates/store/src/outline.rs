//! The order and the numbers of a snapshot's items: by these rules a state is put together, and by the
//! same ones a snapshot of another replica is judged before it takes the place of a state.

use std::collections::BTreeSet;

use skv_proto::v1;
use skv_proto::v1::shard_state::Holding;
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::COUNT_LIMIT;

use crate::facts::Facts;
use crate::record::Record;
use crate::restore_error::RestoreError::{self, Contradiction};
use crate::sessions::Session;
use crate::slot::Outgoing;

/// The items so far.
#[derive(Debug, Default)]
pub(super) struct Outline {
    group: bool,
    /// The number of shards; 0 before the group is founded.
    shards: u32,
    seen: BTreeSet<u32>,
    open: Option<Open>,
}

/// The shard whose items come.
#[derive(Debug)]
struct Open {
    /// The numbers of keys, sessions, tombstones and forgotten sessions that are to come.
    due: [u64; 4],
    /// True if it has keys and sessions.
    is_held: bool,
    /// True if it has tombstones.
    is_copied: bool,
}

impl Outline {
    /// Takes the next item into account.
    pub(super) fn note(&mut self, item: &Item) -> Result<(), RestoreError> {
        match item {
            Item::Group(_) if self.group => Err(Contradiction("a second group")),
            Item::Group(group) => {
                let facts = group.founded.clone().map(Facts::try_from).transpose()?;
                (self.group, self.shards) = (true, facts.map_or(0, |facts| facts.shards));
                Ok(())
            }
            Item::Shard(state) => self.begin(state),
            Item::Key(_) => self.count(0, "a key outside of a shard"),
            Item::Session(_) => self.count(1, "a session outside of a shard"),
            Item::Tombstone(_) if self.open.as_ref().is_some_and(|open| open.is_held && !open.is_copied) => {
                Err(Contradiction("a tombstone in a shard that isn't copied"))
            }
            Item::Tombstone(_) => self.count(2, "a tombstone outside of a shard"),
            Item::Forgotten(_) => self.count(3, "a forgotten session outside of a shard"),
        }
    }

    fn begin(&mut self, state: &v1::ShardState) -> Result<(), RestoreError> {
        self.end_shard()?;
        if self.shards == 0 {
            return Err(Contradiction("a shard without a group"));
        }
        if state.shard >= self.shards {
            return Err(Contradiction("a shard beyond the number of shards"));
        }
        if !self.seen.insert(state.shard) {
            return Err(Contradiction("a shard twice"));
        }
        if state.fence.is_none() {
            return Err(Contradiction("a shard without its fence"));
        }
        // Each command adds one, from what a handoff may bring.
        if state.revision >= 2 * COUNT_LIMIT {
            return Err(Contradiction("a revision that no shard reaches"));
        }
        let is_copied = match &state.holding {
            None => false,
            Some(Holding::Received(_)) => true,
            Some(Holding::Owned(owned)) => {
                let outgoing = owned.outgoing.map(Outgoing::try_from).transpose()?;
                outgoing.is_some_and(|outgoing| outgoing.phase.changes().is_some())
            }
        };
        let due = [state.keys, state.sessions, state.tombstones, state.forgotten];
        self.open = Some(Open { due, is_held: state.holding.is_some(), is_copied });
        Ok(())
    }

    fn count(&mut self, kind: usize, outside: &'static str) -> Result<(), RestoreError> {
        let open = self.open.as_mut().filter(|open| open.is_held).ok_or(Contradiction(outside))?;
        let due = &mut open.due[kind];
        *due = due.checked_sub(1).ok_or(Contradiction("a shard with more items than it says"))?;
        Ok(())
    }

    fn end_shard(&mut self) -> Result<(), RestoreError> {
        let missing = self.open.take().is_some_and(|open| open.due != [0; 4]);
        if missing { Err(Contradiction("a shard with fewer items than it says")) } else { Ok(()) }
    }

    /// Checks that no item is missing.
    pub(super) fn finish(&mut self) -> Result<(), RestoreError> {
        self.end_shard()?;
        if self.group { Ok(()) } else { Err(Contradiction("no group")) }
    }
}

/// Judges the items of a snapshot, and keeps nothing of them.
#[derive(Debug, Default)]
pub struct Inspection {
    outline: Outline,
}

impl Inspection {
    /// Judges the next item. A state can be put together of all that pass.
    pub fn add(&mut self, item: v1::SnapshotItem) -> Result<(), RestoreError> {
        let item = item.item.ok_or(Contradiction("an item of an unknown kind"))?;
        self.outline.note(&item)?;
        match item {
            Item::Key(key) => Record::try_from(key).map(drop),
            Item::Session(session) => Session::try_from(session).map(drop),
            Item::Group(_) | Item::Shard(_) | Item::Tombstone(_) | Item::Forgotten(_) => Ok(()),
        }
    }

    /// Judges the whole, once all items passed.
    pub fn finish(mut self) -> Result<(), RestoreError> {
        self.outline.finish()
    }
}
