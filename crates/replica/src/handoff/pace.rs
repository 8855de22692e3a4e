//! The pace at which shards are carried.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time whose bytes may be sent at once after a rest.
const BURST: Duration = Duration::from_millis(10);

/// The transfer limit of a server, for all its leaders together.
#[derive(Debug)]
pub struct Pace {
    /// The limit; 0 for none.
    bytes_per_second: u64,
    /// The time at which all that was sent would have been sent at exactly that rate.
    paid_until: Mutex<Instant>,
}

impl Pace {
    /// Returns a limit in bytes per second; 0 for none.
    pub fn new(bytes_per_second: u64) -> Self {
        Pace { bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until this many bytes may be sent.
    pub(super) async fn await_turn(&self, bytes: u64) {
        if self.bytes_per_second > 0 {
            tokio::time::sleep_until(self.turn(bytes, Instant::now())).await;
        }
    }

    /// Returns the time at which this many bytes may be sent, and counts them as sent then.
    fn turn(&self, bytes: u64, now: Instant) -> Instant {
        let mut paid_until = self.paid_until.lock();
        let turn = (*paid_until).max(now.checked_sub(BURST).unwrap_or(now));
        *paid_until = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_no_more_is_sent_than_the_limit() {
        let (pace, start) = (Pace::new(1000), Instant::now());
        let mut now = start;
        for _ in 0..30 {
            now = now.max(pace.turn(100, now));
        }
        // All but the last have been paid for, less what a rest allows.
        assert!(now - start >= Duration::from_millis(2850), "{:?}", now - start);
        let rested = now + Duration::from_mins(1);
        now = rested;
        for _ in 0..11 {
            now = now.max(pace.turn(100, now));
        }
        assert!(now - rested >= Duration::from_millis(900), "a long rest isn't made up for");
    }
}
