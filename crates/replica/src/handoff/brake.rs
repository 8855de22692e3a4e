//! The brake on the writers of a shard that changes faster than it can be carried.
//!
//! After every 16 rounds of changes in which the rest shrank by less than an eighth of what was sent, each
//! write of the shard waits twice as long as before: 2 ms at first, 1 s at most. It waits on its server, in
//! `services/operations/wait.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use skv_sharding::{GroupId, ShardId};

/// The number of rounds of changes after which it is checked that the rest shrinks; if it doesn't,
/// writers are slowed down, or slowed down more.
const PATIENCE: u32 = 16;
/// The first and the longest delay of a write.
const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_secs(1);

/// The shards whose writers are slowed down, and the delay of each.
#[derive(Debug, Default)]
pub struct Delays {
    count: AtomicUsize,
    delays: RwLock<BTreeMap<ShardId, Duration>>,
}

impl Delays {
    /// Returns the time that a write of this shard has to wait; `None` if it needn't wait.
    pub fn delay(&self, shard: ShardId) -> Option<Duration> {
        // Hardly any write gets past this line.
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
    delays: Arc<Delays>,
    group: GroupId,
    shard: ShardId,
    patience: Patience,
    delay: Option<Duration>,
}

/// Watches that the rest of a shard shrinks by what is sent.
#[derive(Debug, Default)]
struct Patience {
    rounds: u32,
    /// The revision that the target had reached when this was last checked, and the number by which
    /// it was behind then.
    last: Option<(u64, u64)>,
}

impl Patience {
    /// Counts a round. Returns true if patience is over.
    fn is_out(&mut self, reached: u64, behind: u64) -> bool {
        self.rounds += 1;
        let (reached_before, behind_before) = *self.last.get_or_insert((reached, behind));
        if !self.rounds.is_multiple_of(PATIENCE) {
            return false;
        }
        self.last = Some((reached, behind));
        // If new revisions make up for seven of eight that were sent, no end is in sight.
        behind_before.saturating_sub(behind) < (reached - reached_before).div_ceil(8)
    }
}

impl Brake {
    pub(super) fn new(delays: Arc<Delays>, group: GroupId, shard: ShardId) -> Self {
        Brake { delays, group, shard, patience: Patience::default(), delay: None }
    }

    /// Counts a round of changes that wasn't the last, with the revision of the shard that the target
    /// had reached then, and the number of revisions by which it was behind.
    pub(super) fn round(&mut self, reached: u64, behind: u64) {
        if !self.patience.is_out(reached, behind) {
            return;
        }
        let delay = self.delay.map_or(FIRST, |delay| (delay * 2).min(LONGEST));
        if self.delay.is_none() {
            tracing::info!(group = %self.group, shard = %self.shard, "writes are slowed down: the shard changes as fast as it is copied");
        }
        self.delay = Some(delay);
        self.delays.set(self.shard, self.delay);
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        if self.delay.is_some() {
            self.delays.set(self.shard, None);
            tracing::info!(group = %self.group, shard = %self.shard, "writes are slowed down no more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writers_of_a_slowed_shard_wait() {
        let delays = Delays::default();
        assert_eq!(delays.delay(ShardId(1)), None);
        delays.set(ShardId(1), Some(FIRST));
        assert_eq!((delays.delay(ShardId(1)), delays.delay(ShardId(2))), (Some(FIRST), None));
        delays.set(ShardId(1), None);
        assert_eq!((delays.delay(ShardId(1)), delays.count.load(Ordering::Relaxed)), (None, 0));
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
