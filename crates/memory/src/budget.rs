//! The budget of a process: its limit, all that counts towards it, and the answer to whether more fits.
//!
//! Two edges lie below the limit. At the first one a leader proposes nothing more that makes data grow;
//! all replicas of a group hold the same, so this usually stops the group before any follower reaches
//! the second, at which a follower refuses to take such entries. In between there is room for what
//! isn't counted exactly: entries in flight, buffers, pages of which parts are freed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ceiling::Ceiling;
use crate::tally::Tally;

/// The part of every limit that isn't for data: the program itself, its threads, buffers and queues.
const RESERVE: u64 = 64 << 20;

/// The memory that a process may use, and does. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Option<u64>,
    tally: Tally,
    /// The bytes that count beside the tally, by the last sample.
    beside: AtomicU64,
    /// The resident memory, by the last sample.
    resident: AtomicU64,
    ceiling: Mutex<Ceiling>,
    /// The first edge, by the last sample.
    edge: AtomicU64,
    /// True from when the first edge is reached until the count is a little below it, so that nobody
    /// is told one thing and its opposite by turns.
    full: AtomicBool,
}

/// Returns the first edge by the limit alone. Of a limit that is hardly more than the reserve, a quarter
/// is for data all the same: a process that takes nothing is of no use.
fn first_edge(limit: u64) -> u64 {
    (limit.saturating_sub(RESERVE) / 4 * 3).max(limit / 4)
}

/// Returns the second edge.
fn last_edge(limit: u64) -> u64 {
    let first = first_edge(limit);
    first + first / 6
}

impl Budget {
    /// Returns a budget with a limit in bytes; without one everything fits.
    pub fn new(limit: Option<u64>) -> Self {
        Budget(Arc::new(Inner {
            limit,
            tally: Tally::default(),
            beside: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            ceiling: Mutex::default(),
            edge: AtomicU64::new(limit.map_or(u64::MAX, first_edge)),
            full: AtomicBool::new(false),
        }))
    }

    /// Returns the limit.
    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    /// Returns the sum of the charges for data.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Returns all bytes that are counted.
    pub fn used(&self) -> u64 {
        self.0.tally.bytes().saturating_add(self.0.beside.load(Ordering::Relaxed))
    }

    /// Returns the resident memory of the process by the last sample; 0 if it isn't known.
    pub fn resident(&self) -> u64 {
        self.0.resident.load(Ordering::Relaxed)
    }

    /// Returns the bytes up to which data may grow.
    pub fn edge(&self) -> u64 {
        self.0.edge.load(Ordering::Relaxed)
    }

    /// Returns true if data may grow.
    pub fn has_room(&self) -> bool {
        let (edge, was_full) = (self.edge(), self.0.full.load(Ordering::Relaxed));
        let is_full = self.used() >= if was_full { edge - edge / 32 } else { edge };
        if is_full != was_full {
            self.0.full.store(is_full, Ordering::Relaxed);
        }
        !is_full
    }

    /// Returns true if data may grow by this much.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.has_room() && self.used().saturating_add(bytes) < self.edge()
    }

    /// Returns true if a state of this size fits in the place of one of `replaced` bytes, so that the
    /// process survives.
    pub fn can_hold(&self, bytes: u64, replaced: u64) -> bool {
        let rest = self.used().saturating_sub(replaced);
        self.0.limit.is_none_or(|limit| rest.saturating_add(bytes) < last_edge(limit))
    }

    /// Returns a bound for one of several buffers: `usual`, or less if the limit is small.
    pub fn buffer(&self, usual: usize) -> usize {
        let part = self.0.limit.map_or(u64::MAX, |limit| limit / 16);
        usual.min(usize::try_from(part).unwrap_or(usize::MAX))
    }

    /// Takes a sample: the resident memory of the process, if it is known, and the bytes that count
    /// beside the tally.
    pub fn sample(&self, resident: Option<u64>, beside: u64) {
        self.0.beside.store(beside, Ordering::Relaxed);
        let Some(limit) = self.0.limit else { return };
        let mut ceiling = self.0.ceiling.lock();
        if let Some(resident) = resident {
            self.0.resident.store(resident, Ordering::Relaxed);
            ceiling.sample(limit, resident, self.used());
        }
        let edge = first_edge(limit).min(ceiling.bytes().unwrap_or(u64::MAX));
        self.0.edge.store(edge, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn filled(limit: u64, bytes: u64) -> (Budget, crate::Charge) {
        let budget = Budget::new(Some(limit));
        let charge = budget.tally().charge();
        charge.change(0, bytes);
        (budget, charge)
    }

    #[test]
    fn data_has_its_part_of_every_limit() {
        for (limit, first, last) in [
            (0, 0, 0),
            (8, 2, 2),
            (64, 16, 18),
            (128, 48, 56),
            (200, 102, 119),
            (1024, 720, 840),
            (1 << 20, 786_384, 917_448),
        ] {
            let edges = (first_edge(limit * MIB) / MIB, last_edge(limit * MIB) / MIB);
            assert_eq!(edges, (first, last), "{limit} MiB");
        }
    }

    #[test]
    fn the_leader_stops_before_a_follower_must_and_goes_on_a_little_below() {
        let (budget, charge) = filled(192 * MIB, 96 * MIB - 1);
        assert!(budget.has_room());
        assert!(!budget.has_room_for(2) && budget.has_room_for(0));
        charge.change(0, 1);
        assert!(!budget.has_room() && budget.can_hold(0, 0), "a follower takes more");
        charge.change(2 * MIB, 0);
        assert!(!budget.has_room(), "it isn't said by turns");
        charge.change(2 * MIB, 0);
        assert!(budget.has_room());
        charge.change(0, 20 * MIB);
        assert!(!budget.has_room() && !budget.can_hold(0, 0));
    }

    #[test]
    fn without_a_limit_everything_fits() {
        let budget = Budget::new(None);
        budget.sample(Some(u64::MAX), 1 << 60);
        assert!(budget.has_room() && budget.has_room_for(1 << 61) && budget.can_hold(1 << 61, 0));
        assert_eq!(budget.buffer(64), 64);
    }

    #[test]
    fn resident_memory_near_the_limit_leaves_no_room_until_something_is_deleted() {
        let (budget, charge) = filled(192 * MIB, 64 * MIB);
        budget.sample(Some(191 * MIB), 0);
        assert!(!budget.has_room());
        charge.change(32 * MIB, 0);
        budget.sample(Some(191 * MIB), 0);
        assert!(budget.has_room(), "the pages of what was deleted are there");
        charge.change(0, 32 * MIB);
        assert!(!budget.has_room());
        budget.sample(Some(100 * MIB), 0);
        assert!(budget.has_room());
    }

    #[test]
    fn what_counts_beside_the_data_takes_room_too() {
        let (budget, _charge) = filled(192 * MIB, 64 * MIB);
        budget.sample(None, 40 * MIB);
        assert!(!budget.has_room());
        budget.sample(None, 0);
        assert!(budget.has_room());
    }

    #[test]
    fn a_state_is_taken_if_it_fits_where_the_old_one_was() {
        let (budget, _charge) = filled(192 * MIB, 100 * MIB);
        assert!(budget.can_hold(110 * MIB, 100 * MIB));
        assert!(!budget.can_hold(110 * MIB, 0));
        assert!(!budget.can_hold(120 * MIB, 100 * MIB));
    }

    #[test]
    fn buffers_are_small_where_memory_is() {
        assert_eq!(Budget::new(Some(64)).buffer(64 << 20), 4);
        assert_eq!(Budget::new(Some(1 << 40)).buffer(64 << 20), 64 << 20);
    }
}
