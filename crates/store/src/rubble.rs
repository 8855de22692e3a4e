//! What is left of shards that have gone: it is freed bit by bit, since freeing millions of keys
//! at once would hold up everybody who waits for the next entry.

use std::collections::VecDeque;

use crate::slot::Parts;

/// Parts of shards that nobody needs any more.
#[derive(Default)]
pub(super) struct Rubble(VecDeque<Parts>);

impl Rubble {
    /// Takes what a slot has let go of.
    pub(super) fn add(&mut self, gone: impl IntoIterator<Item = Parts>) {
        self.0.extend(gone);
    }

    /// Frees a part. Whether there is more.
    pub(super) fn clear_some(&mut self) -> bool {
        if let Some(first) = self.0.front_mut()
            && first.next().is_none()
        {
            self.0.pop_front();
        }
        !self.0.is_empty()
    }
}
