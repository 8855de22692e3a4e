//! A sum of bytes that many owners share. Each owner has a charge of its own, which leaves the sum when
//! the owner goes: no error path can forget to give it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A sum of charges. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Returns the sum.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns a charge of nothing yet.
    pub fn charge(&self) -> Charge {
        Charge { tally: self.clone(), bytes: AtomicU64::new(0) }
    }
}

/// The bytes of an owner in a tally, until it is dropped.
#[derive(Debug)]
pub struct Charge {
    tally: Tally,
    bytes: AtomicU64,
}

impl Charge {
    /// Returns the bytes of this charge.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Replaces `before` of its bytes by `after`.
    pub fn change(&self, before: u64, after: u64) {
        // Sums wrap around: what is taken out was put in before.
        let difference = after.wrapping_sub(before);
        if difference != 0 {
            self.tally.0.fetch_add(difference, Ordering::Relaxed);
            self.bytes.fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// Takes all of its bytes out.
    pub fn clear(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.tally.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_the_sum_of_the_charges_that_exist() {
        let tally = Tally::default();
        let (one, two) = (tally.charge(), tally.charge());
        one.change(0, 10);
        two.change(0, 5);
        one.change(10, 7);
        assert_eq!((one.bytes(), two.bytes(), tally.bytes()), (7, 5, 12));
        drop(one);
        assert_eq!(tally.bytes(), 5);
        two.clear();
        assert_eq!((two.bytes(), tally.bytes()), (0, 0));
    }
}
