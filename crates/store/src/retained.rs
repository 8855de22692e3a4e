//! The memory that is kept only because somebody reads an earlier state: records that were replaced
//! since, and buckets that were copied before they changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skv_memory::{Charge, Tally};

use crate::account::{self, Account};

/// The bytes that views of earlier states keep. The sum errs upwards: it is taken back when the last
/// view ends, although each lets go of its buckets as they are read.
#[derive(Debug)]
pub(super) struct Retained {
    views: AtomicUsize,
    charge: Charge,
}

/// A view that isn't read to its end yet.
#[derive(Debug)]
pub(super) struct Hold(Arc<Retained>);

impl Retained {
    pub(super) fn new(tally: &Tally) -> Self {
        Retained { views: AtomicUsize::new(0), charge: tally.charge() }
    }

    /// Notes a view, until the hold is dropped.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.views.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(self))
    }

    /// Counts the things that a change of a slot has left to the views.
    pub(super) fn add(&self, before: Account, after: Account) {
        if self.views.load(Ordering::Acquire) == 0 {
            return;
        }
        self.charge.change(0, account::left(before, after));
        // The last view may have ended meanwhile.
        if self.views.load(Ordering::Acquire) == 0 {
            self.charge.clear();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.views.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.charge.clear();
        }
    }
}
