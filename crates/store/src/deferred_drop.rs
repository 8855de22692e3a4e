//! The remains of shards that have gone: they are freed bit by bit, since freeing millions of keys at
//! once would hold up everybody who waits for the next entry.

use std::collections::VecDeque;

/// Something with perhaps millions of parts, to be freed part by part.
pub(super) struct Deferred(Box<dyn Iterator<Item = ()> + Send>);

impl Deferred {
    /// Takes an iterator whose steps each free a part.
    pub(super) fn new(parts: impl Iterator<Item = ()> + Send + 'static) -> Self {
        Deferred(Box::new(parts))
    }

    /// Frees a part, and returns false if there was none.
    fn free_some(&mut self) -> bool {
        self.0.next().is_some()
    }
}

/// All that nobody needs any more, until it is freed.
#[derive(Default)]
pub(super) struct DeferredDrops(VecDeque<Deferred>);

impl DeferredDrops {
    /// Takes the things that a slot has let go of.
    pub(super) fn add(&mut self, gone: impl IntoIterator<Item = Deferred>) {
        self.0.extend(gone);
    }

    /// Frees a part, and returns true if there is more.
    pub(super) fn free_some(&mut self) -> bool {
        if let Some(first) = self.0.front_mut()
            && !first.free_some()
        {
            self.0.pop_front();
        }
        !self.0.is_empty()
    }
}
