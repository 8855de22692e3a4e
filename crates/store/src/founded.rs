//! A group that knows who it is, and its shards.

use std::sync::Arc;

use parking_lot::RwLock;
use skv_sharding::ShardId;

use crate::facts::Facts;
use crate::handoff::Summary;
use crate::slot::{Owned, Slot};

/// What a group is and holds.
#[derive(Debug)]
pub(super) struct Founded {
    pub(super) facts: Arc<Facts>,
    /// One for each shard of the cluster. A reader and the applier meet here only.
    pub(super) slots: Box<[RwLock<Slot>]>,
}

impl Founded {
    pub(super) fn new(facts: Facts) -> Self {
        let slots = (0..facts.shards).map(|_| RwLock::default()).collect();
        Self { facts: Arc::new(facts), slots }
    }

    /// The slots, each with the number of its shard.
    pub(super) fn slots(&self) -> impl Iterator<Item = (ShardId, &RwLock<Slot>)> {
        (0..).map(ShardId).zip(&self.slots)
    }

    /// What the group has of each shard that it has something of.
    pub(super) fn summaries(&self) -> impl Iterator<Item = Summary> {
        self.slots().filter_map(|(id, slot)| slot.read().summary(id))
    }

    /// How many shards leave or come.
    pub(super) fn handing_off(&self) -> usize {
        self.slots.iter().filter(|slot| slot.read().is_handing_off()).count()
    }

    /// Of each owned shard, something.
    pub(super) fn owned<'a, T>(
        &'a self,
        of: impl Fn(&Owned) -> T + 'a,
    ) -> impl Iterator<Item = (ShardId, T)> + 'a {
        self.slots().filter_map(move |(id, slot)| Some((id, of(slot.read().owned()?))))
    }
}
