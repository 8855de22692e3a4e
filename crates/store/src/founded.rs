//! A group that knows its identity, and its shards.

use std::sync::Arc;

use parking_lot::RwLock;
use skv_memory::{Budget, Charge};
use skv_sharding::ShardId;

use crate::facts::Facts;
use crate::handoff::Summary;
use crate::retained::Retained;
use crate::slot::{Owned, Slot};

/// The identity and the shards of a group.
#[derive(Debug)]
pub(super) struct Founded {
    pub(super) facts: Arc<Facts>,
    /// The slots, one for each shard of the cluster. A reader and the applier meet here only.
    pub(super) slots: Box<[RwLock<Slot>]>,
    /// The memory that the slots take.
    charge: Charge,
    /// The memory that only views of earlier states take.
    pub(super) retained: Arc<Retained>,
}

impl Founded {
    pub(super) fn new(facts: Facts, budget: &Budget) -> Self {
        let slots = (0..facts.shards).map(|_| RwLock::default()).collect();
        let (charge, retained) = (budget.tally().charge(), Retained::new(budget.tally()));
        Self { facts: Arc::new(facts), slots, charge, retained: Arc::new(retained) }
    }

    /// Changes a slot, and counts the memory that this takes or frees.
    pub(super) fn change<T>(&self, slot: &RwLock<Slot>, change: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slot = slot.write();
        let before = slot.account();
        let result = change(&mut slot);
        let after = slot.account();
        self.charge.change(before.held, after.held);
        self.retained.add(before, after);
        result
    }

    /// Returns the memory that the slots take, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.charge.bytes()
    }

    /// Counts a slot that is filled while the state is put together.
    pub(super) fn count(&self, before: u64, after: u64) {
        self.charge.change(before, after);
    }

    /// Returns the slots, each with the number of its shard.
    pub(super) fn slots(&self) -> impl Iterator<Item = (ShardId, &RwLock<Slot>)> {
        (0..).map(ShardId).zip(&self.slots)
    }

    /// Returns a summary of each shard that the group has something of.
    pub(super) fn summaries(&self) -> impl Iterator<Item = Summary> {
        self.slots().filter_map(|(id, slot)| slot.read().summary(id))
    }

    /// Returns the number of shards that leave or come.
    pub(super) fn handing_off(&self) -> usize {
        self.slots.iter().filter(|slot| slot.read().is_handing_off()).count()
    }

    /// Returns the result of `of` for each shard that the group owns.
    pub(super) fn owned<'a, T>(
        &'a self,
        of: impl Fn(&Owned) -> T + 'a,
    ) -> impl Iterator<Item = (ShardId, T)> + 'a {
        self.slots().filter_map(move |(id, slot)| Some((id, of(slot.read().owned()?))))
    }
}
