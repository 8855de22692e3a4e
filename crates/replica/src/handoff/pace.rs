//! How fast shards are carried, and how writers of a shard are slowed down that changes faster
//! than it can be carried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use skv_sharding::ShardId;
use tokio::time::Instant;

use crate::Running;

/// What may be sent at once after a rest.
const BURST: Duration = Duration::from_millis(10);
/// Rounds of changes that are sent before it is looked whether the rest shrinks; if it doesn't,
/// writers are slowed down, or slowed down more.
const PATIENCE: u32 = 16;
/// The first and the longest delay of a write.
const DELAYS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// The transfer limit of a server: what all its leaders together may send.
#[derive(Debug)]
pub struct Pace {
    /// 0: no limit.
    bytes_per_second: u64,
    /// When all that was sent would have been sent at exactly that rate.
    paid_until: Mutex<Instant>,
}

impl Pace {
    /// At most so many bytes per second; 0: no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        Pace { bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may be sent.
    pub(super) async fn await_turn(&self, bytes: u64) {
        if self.bytes_per_second > 0 {
            tokio::time::sleep_until(self.turn(bytes, Instant::now())).await;
        }
    }

    /// When so many bytes may be sent, which are counted as sent then.
    fn turn(&self, bytes: u64, now: Instant) -> Instant {
        let mut paid_until = self.paid_until.lock();
        let turn = (*paid_until).max(now.checked_sub(BURST).unwrap_or(now));
        *paid_until = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        turn
    }
}

/// The shards whose writers are slowed down, and by how much.
#[derive(Debug, Default)]
pub struct Slowed {
    count: AtomicUsize,
    delays: RwLock<BTreeMap<ShardId, Duration>>,
}

impl Slowed {
    /// How long a write of this shard has to wait; `None`: not at all.
    pub fn delay(&self, shard: ShardId) -> Option<Duration> {
        // Of every write that is ever made, hardly one gets past this.
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.delays.read().get(&shard).copied()
    }

    fn set(&self, shard: ShardId, delay: Option<Duration>) {
        let mut delays = self.delays.write();
        match delay {
            Some(delay) => drop(delays.insert(shard, delay)),
            None => drop(delays.remove(&shard)),
        }
        self.count.store(delays.len(), Ordering::Relaxed);
    }
}

/// Slows the writers of one shard down, the more the longer it takes to keep up with them.
/// They go on at full speed when this is dropped.
pub(super) struct Brake {
    running: Arc<Running>,
    shard: ShardId,
    patience: Patience,
    delay: Option<Duration>,
}

/// Whether the rest of a shard shrinks by what is sent.
#[derive(Debug, Default)]
struct Patience {
    rounds: u32,
    /// What the target had reached at the last look, and how far it was behind then.
    last: Option<(u64, u64)>,
}

impl Patience {
    /// After a round: whether it is out.
    fn is_out(&mut self, reached: u64, behind: u64) -> bool {
        self.rounds += 1;
        let (reached_before, behind_before) = *self.last.get_or_insert((reached, behind));
        if !self.rounds.is_multiple_of(PATIENCE) {
            return false;
        }
        self.last = Some((reached, behind));
        // If seven of eight revisions that were sent are made up for by new ones, no end is in sight.
        behind_before.saturating_sub(behind) < (reached - reached_before).div_ceil(8)
    }
}

impl Brake {
    pub(super) fn new(running: Arc<Running>, shard: ShardId) -> Self {
        Brake { running, shard, patience: Patience::default(), delay: None }
    }

    /// To be called after each round of changes that wasn't the last, with the revision of the
    /// shard that the target had reached then, and how many it was behind.
    pub(super) fn round(&mut self, reached: u64, behind: u64) {
        if !self.patience.is_out(reached, behind) {
            return;
        }
        let (first, longest) = DELAYS;
        let delay = self.delay.map_or(first, |delay| (delay * 2).min(longest));
        if self.delay.is_none() {
            tracing::info!(group = %self.running.place.group, shard = %self.shard, "writes are slowed down: the shard changes as fast as it is copied");
        }
        self.delay = Some(delay);
        self.running.slowed.set(self.shard, self.delay);
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        if self.delay.is_some() {
            self.running.slowed.set(self.shard, None);
            tracing::info!(group = %self.running.place.group, shard = %self.shard, "writes are slowed down no more");
        }
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

    #[test]
    fn only_writers_of_a_slowed_shard_wait() {
        let slowed = Slowed::default();
        assert_eq!(slowed.delay(ShardId(1)), None);
        slowed.set(ShardId(1), Some(DELAYS.0));
        assert_eq!((slowed.delay(ShardId(1)), slowed.delay(ShardId(2))), (Some(DELAYS.0), None));
        slowed.set(ShardId(1), None);
        assert_eq!((slowed.delay(ShardId(1)), slowed.count.load(Ordering::Relaxed)), (None, 0));
    }

    #[test]
    fn only_a_rest_that_does_not_shrink_slows_writers_down() {
        // A hundred revisions are sent in each round.
        let out = |behind: fn(u64) -> u64| {
            let mut patience = Patience::default();
            let rounds = 1..=u64::from(4 * PATIENCE);
            rounds.filter(|&round| patience.is_out(100 * round, behind(round))).count()
        };
        assert_eq!(out(|round| 10_000 - 80 * round), 0, "it comes nearer");
        assert_eq!(out(|round| 10_000_000 - 80 * round), 0, "it comes nearer, of a large shard too");
        assert_eq!(out(|_| 500), 4, "it stays away");
        assert_eq!(out(|round| 10_000 - round), 4, "it hardly comes nearer");
        assert_eq!(out(|round| 10_000 + round), 4, "it falls back");
    }
}
