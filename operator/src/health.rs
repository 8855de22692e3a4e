//! The health of the operator: the kinds of objects that it can't list. For want of one nothing is done at all.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// The kinds of objects that can't be listed.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<BTreeSet<String>>);

impl Health {
    /// Notes that a kind can't be listed.
    pub(crate) fn lost(&self, kind: &str) {
        self.0.lock().insert(kind.to_owned());
    }

    /// Notes that a kind was listed after all.
    pub(crate) fn found(&self, kind: &str) {
        self.0.lock().remove(kind);
    }

    /// Returns the kinds that can't be listed.
    pub(crate) fn lacks(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}
