//! Pauses between attempts, jittered so that callers don't move in step.

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// The source of jitter.
#[derive(Debug)]
pub(crate) struct Jitter(Mutex<SmallRng>);

impl Jitter {
    /// Makes a source; the same seed gives the same jitter, `None` is random.
    pub(crate) fn new(seed: Option<u64>) -> Jitter {
        Jitter(Mutex::new(
            seed.map_or_else(|| SmallRng::seed_from_u64(rand::random()), SmallRng::seed_from_u64),
        ))
    }

    /// Returns a duration somewhere between the two.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        self.0.lock().random_range(least..=most)
    }
}

/// Pauses that grow with each failure.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(320);

    /// Returns the next pause: 5 to 10 ms at first, 160 to 320 ms in the end.
    pub(crate) fn next(&mut self, jitter: &Jitter) -> Duration {
        let most = Self::LONGEST.min(Self::FIRST * (1 << self.attempts.min(16)));
        self.attempts += 1;
        jitter.between(most / 2, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_follow_from_the_seed() {
        let pauses = |seed| {
            let (jitter, mut backoff) = (Jitter::new(Some(seed)), Backoff::default());
            (0..40).map(|_| backoff.next(&jitter)).collect::<Vec<_>>()
        };
        let first = pauses(1);
        assert!(first[0] <= Backoff::FIRST);
        assert!(first.iter().all(|pause| *pause <= Backoff::LONGEST));
        assert!(first[39] >= Backoff::LONGEST / 2);
        assert_eq!(first, pauses(1));
        assert_ne!(first, pauses(2));
    }
}
