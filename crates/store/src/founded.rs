//! The state of a group from its founding on: its identity, and a slot for each shard. `Store::found` founds
//! it, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use skv_memory::{Budget, Charge};
use skv_sharding::ShardId;

use crate::facts::Facts;
use crate::handoff::{Move, Progress, Summary};
use crate::retained::{Hold, Retained};
use crate::slot::{Owned, Slot};

/// The identity and the shards of a group.
#[derive(Debug)]
pub(super) struct Founded {
    pub(super) facts: Arc<Facts>,
    /// The slots, one for each shard of the cluster. A reader and the applier meet here only.
    pub(super) slots: Box<[RwLock<Slot>]>,
    /// The memory that the slots take.
    charge: Charge,
    /// The memory that only views of earlier states take, of each slot.
    pub(super) retained: Box<[Arc<Retained>]>,
    /// The number of views of all slots.
    views: Arc<AtomicUsize>,
}

/// The memory of slots before and after they were changed, one after the other.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) before: u64,
    pub(super) after: u64,
}

impl Drop for Founded {
    /// Views of this state keep what they have of it.
    fn drop(&mut self) {
        for (slot, retained) in self.slots.iter_mut().zip(&self.retained) {
            retained.add_all(slot.get_mut().account());
        }
    }
}

impl Founded {
    pub(super) fn new(facts: Facts, budget: &Budget) -> Self {
        let slots = (0..facts.shards).map(|_| RwLock::default()).collect();
        let views = Arc::<AtomicUsize>::default();
        let retained = |_| Arc::new(Retained::new(budget.tally(), Arc::clone(&views)));
        let retained = (0..facts.shards).map(retained).collect();
        Self { facts: Arc::new(facts), slots, charge: budget.tally().charge(), retained, views }
    }

    /// Changes the slot of a shard, which must exist, and counts the memory that this takes or frees.
    pub(super) fn change<T>(&self, shard: ShardId, change: impl FnOnce(&mut Slot) -> T) -> T {
        let mut held = Held::default();
        let result = self.change_one_of_many(shard, &mut held, change);
        self.count(held.before, held.after);
        result
    }

    /// Does the same, but notes the memory in `held`, which is counted after the last of many changes: all
    /// cores of the server meet at that sum.
    pub(super) fn change_one_of_many<T>(
        &self,
        shard: ShardId,
        held: &mut Held,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> T {
        let index = shard.0 as usize;
        let mut slot = self.slots[index].write();
        let before = slot.account();
        let result = change(&mut slot);
        let after = slot.account();
        held.before += before.held;
        held.after += after.held;
        // Nearly always nobody views any slot, and the count of this one lies elsewhere in memory. A view begins
        // under the slot's lock: any that has the state before is counted by now.
        if self.views.load(Ordering::Acquire) > 0 {
            self.retained[index].add(before, after);
        }
        result
    }

    /// Notes a view of a shard, which must exist, until the hold is dropped.
    pub(super) fn hold(&self, shard: ShardId) -> Hold {
        self.retained[shard.0 as usize].hold()
    }

    /// Returns the memory that the slots take, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.charge.bytes()
    }

    /// Counts slots that took `before` bytes until now, and take `after`.
    pub(super) fn count(&self, before: u64, after: u64) {
        self.charge.change(before, after);
    }

    /// Returns true if there is a slot for this shard.
    pub(super) fn has_slot(&self, shard: ShardId) -> bool {
        (shard.0 as usize) < self.slots.len()
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

    /// Returns the result of `of` for the shard of a move out of the group; `None` if there is none such.
    pub(super) fn leaving<T>(&self, to: &Move, of: impl FnOnce(&Owned, Progress) -> Option<T>) -> Option<T> {
        let slot = self.slots.get(to.shard.0 as usize)?.read();
        let departure = slot.departure().filter(|departure| departure.to == *to)?;
        of(slot.owned()?, departure.progress)
    }

    /// Returns the result of `of` for each shard that the group owns.
    pub(super) fn owned<'a, T>(
        &'a self,
        of: impl Fn(&Owned) -> T + 'a,
    ) -> impl Iterator<Item = (ShardId, T)> + 'a {
        self.slots().filter_map(move |(id, slot)| Some((id, of(slot.read().owned()?))))
    }
}
