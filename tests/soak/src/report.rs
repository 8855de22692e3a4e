//! The report on one round, as `cargo xtask soak` reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The report on a round.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) operations: usize,
    /// Operations that failed, or may have: while a whole group is down that is no fault.
    pub(crate) failed: usize,
    /// Changes of the configuration that were made.
    pub(crate) changes: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// The problem, if there is one.
    pub(crate) finding: Option<String>,
}

/// The report while the round lasts, which several tasks add to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Report>>);

impl Notes {
    /// Locks it for a change.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
