//! The one source of randomness: the operating system, or a seed in a simulation.

use std::cell::RefCell;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Has all random numbers of this thread follow from the seed from now on. For simulations, which run
/// on one thread.
pub fn seed(seed: u64) {
    SEEDED.with_borrow_mut(|rng| *rng = Some(SmallRng::seed_from_u64(seed)));
}

/// Returns a random number that isn't 0, good as an identity.
pub fn random_id() -> u64 {
    loop {
        let id = SEEDED
            .with_borrow_mut(|rng| rng.as_mut().map_or_else(|| rand::rng().next_u64(), SmallRng::next_u64));
        if id != 0 {
            return id;
        }
    }
}
