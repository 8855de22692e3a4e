//! The memory that is kept only because somebody reads an earlier state: records that were replaced
//! since, and buckets that were copied before they changed. Counted for each shard on its own: a copy of
//! one shard keeps nothing of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skv_memory::{Charge, Tally};

/// The memory of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// The bytes that it takes.
    pub(super) held: u64,
    /// The bytes of all records that were replaced, and of all buckets that were copied, so far.
    pub(super) left: u64,
}

/// The bytes that views of earlier states of a shard keep. The sum errs upwards: it is taken back when the last
/// view ends, although each lets go of its buckets as they are read.
#[derive(Debug)]
pub(super) struct Retained {
    /// The views of all shards of the group.
    all: Arc<AtomicUsize>,
    /// Those of this one.
    views: AtomicUsize,
    charge: Charge,
}

/// A view that isn't read to its end yet.
#[derive(Debug)]
pub(super) struct Hold(Arc<Retained>);

impl Retained {
    /// Returns the count of one shard; `all` are the views of all shards of the group.
    pub(super) fn new(tally: &Tally, all: Arc<AtomicUsize>) -> Self {
        Retained { all, views: AtomicUsize::new(0), charge: tally.charge() }
    }

    /// Notes a view, until the hold is dropped.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.all.fetch_add(1, Ordering::AcqRel);
        self.views.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(self))
    }

    /// Returns true if anybody reads an earlier state.
    pub(super) fn has_views(&self) -> bool {
        self.views.load(Ordering::Acquire) > 0
    }

    /// Counts the things that a change of a slot has left to the views.
    pub(super) fn add(&self, before: Account, after: Account) {
        self.keep(left(before, after));
    }

    /// Counts a slot that only the views have from now on.
    pub(super) fn add_all(&self, gone: Account) {
        self.keep(gone.held);
    }

    fn keep(&self, bytes: u64) {
        if !self.has_views() {
            return;
        }
        self.charge.change(0, bytes);
        // The last view may have ended meanwhile.
        if !self.has_views() {
            self.charge.clear();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.views.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.charge.clear();
        }
        self.0.all.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns the bytes that a change of a slot has left to those who view it as it was before.
fn left(before: Account, after: Account) -> u64 {
    // The slot holds another shard, or none: those who view the old one have all of it.
    if after.left < before.left || (after.left, after.held) == (0, 0) {
        return before.held;
    }
    after.left - before.left
}
