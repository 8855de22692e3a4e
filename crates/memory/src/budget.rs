//! The budget of a process: its limit, all that counts towards it, and the answer to whether more fits.
//!
//! Two edges lie below the limit. At the first one a leader proposes nothing more that makes data grow;
//! all replicas of a group hold the same, so this stops the group before any follower reaches the
//! second, at which a follower refuses to take such entries. A follower mustn't be brought to that: it
//! would refuse the same entry for ever, and with it all that stands behind it. So the distance between
//! the edges has parts ([`Purpose`]), and what was admitted takes its room at once, before it is applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ceiling::Ceiling;
use crate::tally::{Charge, Tally};

/// The part of every limit that isn't for data: the program itself, its threads, buffers and queues.
const RESERVE: u64 = 64 << 20;

/// The most that a replica keeps, beyond all edges, of records of requests that leave the data as it is. It
/// doesn't grow with the limit, since the limits of its followers may be smaller.
const MOST_RECORDS: u64 = 1 << 20;

/// The size below which no buffer is, unless memory is hardly there.
const LEAST_BUFFER: u64 = 256 << 10;

/// The memory that a process may use, and does. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Option<u64>,
    /// The number of replicas that have buffers.
    replicas: AtomicU64,
    tally: Tally,
    /// The growth that was admitted and isn't in the tally yet, of entries that aren't applied.
    ahead: Tally,
    /// The same, of snapshots that arrive.
    arriving: Tally,
    /// The growth for which room was promised, and which isn't admitted yet: of shards that arrive.
    promised: Tally,
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

/// The purposes of growth, which differ in how far it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// More data: it begins below the first edge, and ends a little above.
    Data,
    /// A part of a shard that was promised room: it ends there too, and may begin above the first edge.
    Promised,
    /// The rest that a command leaves which frees something or leaves data as it is: its record, and a replaced
    /// value that somebody reads still. And the missing parts of a shard that nobody serves.
    WayOut,
    /// Entries that the leader of the group has decided on: up to the last edge.
    Given,
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
            replicas: AtomicU64::new(1),
            tally: Tally::default(),
            ahead: Tally::default(),
            arriving: Tally::default(),
            promised: Tally::default(),
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

    /// Returns true if data may not grow, and files in memory are a reason.
    pub fn is_full_of_files(&self) -> bool {
        self.0.beside.load(Ordering::Relaxed) > 0 && !self.has_room()
    }

    /// Promises room for data of this size, which comes bit by bit; `None` if it doesn't fit beside all
    /// that is expected, and all that was promised. The charge is kept for the part that is missing.
    pub fn promise(&self, bytes: u64) -> Option<Charge> {
        let promised = self.promised();
        promised.change(0, bytes);
        let fits = self.expected().saturating_add(self.0.promised.bytes()) < self.edge();
        (self.has_room() && fits).then_some(promised)
    }

    /// Promises room for what is missing of data that was promised room before; `None` if it doesn't fit any
    /// more beside all that is expected, and all else that was promised. It may go as far as its parts.
    pub fn promise_rest(&self, missing: u64) -> Option<Charge> {
        let promised = self.promised();
        promised.change(0, missing);
        let fits = self.expected().saturating_add(self.0.promised.bytes()) < self.end_of(Purpose::Promised);
        (missing == 0 || fits).then_some(promised)
    }

    fn promised(&self) -> Charge {
        self.0.promised.charge()
    }

    /// Returns true if data may grow by this much, and is still less than half of what may be.
    pub fn has_plenty_for(&self, bytes: u64) -> bool {
        self.expected().saturating_add(bytes) < self.edge() / 2
    }

    /// Returns a charge for growth that is admitted and isn't in the tally yet. It is kept until it is
    /// there, or will never be.
    pub fn ahead(&self) -> Charge {
        self.0.ahead.charge()
    }

    /// Admits growth: adds it to a charge of [`Self::ahead`]. Returns false, and adds nothing, if that is
    /// further than growth for this purpose goes.
    pub fn admit(&self, ahead: &Charge, bytes: u64, purpose: Purpose) -> bool {
        if purpose == Purpose::Data && !self.has_room() {
            return false;
        }
        // Added first: of two that are admitted at the same time each sees the other.
        ahead.change(0, bytes);
        let fits = self.expected() < self.end_of(purpose);
        if !fits {
            ahead.change(bytes, 0);
        }
        fits
    }

    /// Admits the record of a request that leaves the data as it is, wherever the edges are: adds it to a
    /// charge of [`Self::ahead`]. Returns false, and adds nothing, if it is too much beside those that the
    /// replica keeps, which are `kept` bytes, and those that are admitted.
    pub fn admit_record(&self, ahead: &Charge, bytes: u64, kept: u64) -> bool {
        ahead.change(0, bytes);
        let fits = kept.saturating_add(self.admitted()) <= self.most_records();
        if !fits {
            ahead.change(bytes, 0);
        }
        fits
    }

    fn most_records(&self) -> u64 {
        let part = self.0.limit.map_or(u64::MAX, |limit| first_edge(limit) / 18);
        MOST_RECORDS.min(part / self.0.replicas.load(Ordering::Relaxed))
    }

    /// Admits a state of this size in the place of one of `replaced` bytes; `None` if it doesn't fit
    /// beside all else that is expected. The charge is kept until the state is there, or will never be.
    pub fn reserve(&self, bytes: u64, replaced: u64) -> Option<Charge> {
        let arriving = self.0.arriving.charge();
        arriving.change(0, bytes);
        let fits = self.expected().saturating_sub(replaced) < self.last_edge();
        arriving.change(bytes, bytes.saturating_sub(replaced));
        fits.then_some(arriving)
    }

    /// Returns the bytes of growth after which nothing is taken any more, whoever decided on it.
    pub fn left(&self) -> u64 {
        self.last_edge().saturating_sub(self.expected())
    }

    /// Returns the growth of entries that was admitted and isn't in the tally yet.
    pub fn admitted(&self) -> u64 {
        self.0.ahead.bytes()
    }

    /// Returns the bytes that will be counted once all is there that was admitted.
    fn expected(&self) -> u64 {
        self.used().saturating_add(self.admitted()).saturating_add(self.0.arriving.bytes())
    }

    fn last_edge(&self) -> u64 {
        self.0.limit.map_or(u64::MAX, last_edge)
    }

    /// Returns the bytes below which growth for this purpose ends. Between the end of more data and that of
    /// the way out there is room for the records of thousands of deletes.
    fn end_of(&self, purpose: Purpose) -> u64 {
        let edge = self.edge();
        match purpose {
            Purpose::Data | Purpose::Promised => edge.saturating_add(edge / 18),
            Purpose::WayOut => edge.saturating_add(edge / 9),
            Purpose::Given => self.last_edge(),
        }
    }

    /// Returns true if a state of this size fits in the place of one of `replaced` bytes, so that the
    /// process survives.
    pub fn can_hold(&self, bytes: u64, replaced: u64) -> bool {
        self.used().saturating_sub(replaced).saturating_add(bytes) < self.last_edge()
    }

    /// Sets the number of replicas that have buffers of each kind.
    pub fn share_buffers(&self, replicas: usize) {
        self.0.replicas.store(replicas.max(1) as u64, Ordering::Relaxed);
    }

    /// Returns a bound for a buffer of the whole server, one of several: `usual`, or less if the limit is
    /// small.
    pub fn server_buffer(&self, usual: usize) -> usize {
        let part = self.0.limit.map_or(u64::MAX, |limit| limit / 16);
        usual.min(usize::try_from(part).unwrap_or(usize::MAX))
    }

    /// Returns a bound for a replica's buffer, one of several: `usual`, or less if the limit is small.
    pub fn buffer(&self, usual: usize) -> usize {
        let all = self.0.limit.map_or(u64::MAX, |limit| limit / 16);
        let part = (all / self.0.replicas.load(Ordering::Relaxed)).max(all.min(LEAST_BUFFER));
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
        assert!(budget.promise(2).is_none() && budget.promise(0).is_some());
        charge.change(0, 1);
        assert!(!budget.has_room() && budget.can_hold(0, 0), "a follower takes more");
        assert!(!budget.is_full_of_files(), "it is data");
        charge.change(2 * MIB, 0);
        assert!(!budget.has_room(), "it isn't said by turns");
        charge.change(2 * MIB, 0);
        assert!(budget.has_room());
        charge.change(0, 20 * MIB);
        assert!(!budget.has_room() && !budget.can_hold(0, 0));
    }

    #[test]
    fn what_was_admitted_takes_its_room_before_it_is_there() {
        let (budget, _charge) = filled(192 * MIB, 90 * MIB);
        let (one, other) = (budget.ahead(), budget.ahead());
        assert!(budget.admit(&one, 8 * MIB, Purpose::Data) && budget.has_room(), "it isn't there yet");
        assert!(!budget.admit(&other, 4 * MIB, Purpose::Data));
        assert_eq!((one.bytes(), other.bytes()), (8 * MIB, 0), "what is refused takes nothing");
        assert_eq!(budget.left(), 14 * MIB);
        drop(one);
        assert!(budget.admit(&other, 4 * MIB, Purpose::Data));
    }

    #[test]
    fn growth_ends_before_the_edge_at_which_a_follower_refuses_it() {
        use Purpose::{Data, Given, Promised, WayOut};
        let (budget, charge) = filled(192 * MIB, 95 * MIB);
        let fits = |bytes, purpose| budget.admit(&budget.ahead(), bytes * MIB, purpose);
        let most = |purpose| (0..20).take_while(|bytes| fits(*bytes, purpose)).count();
        assert_eq!([Data, Promised, WayOut, Given].map(most), [7, 7, 12, 17]);
        charge.change(0, 2 * MIB);
        assert_eq!([Data, Promised, WayOut, Given].map(most), [0, 5, 10, 15]);
        let (small, _charge) = filled(128 * MIB, 47 * MIB);
        assert!(!small.admit(&small.ahead(), 9 * MIB, Data), "no follower could take it");
    }

    #[test]
    fn requests_that_leave_the_data_as_it_is_go_on_beyond_all_edges_and_keep_little() {
        // Of 6 MiB for data a part is for records, and 150 MiB are there.
        let (budget, _charge) = filled(24 * MIB, 150 * MIB);
        assert!(!budget.admit(&budget.ahead(), 72, Purpose::WayOut));
        let (one, other, most) = (budget.ahead(), budget.ahead(), 6 * MIB / 18);
        assert!(budget.admit_record(&one, most - 72, 72));
        assert!(!budget.admit_record(&other, 72, 72), "those in flight count");
        assert_eq!((one.bytes(), other.bytes()), (most - 72, 0), "what is refused takes nothing");
        drop(one);
        assert!(budget.admit_record(&other, 72, most - 72) && !budget.admit_record(&other, 72, most - 72));

        for large in [Budget::new(None), Budget::new(Some(64 << 30))] {
            let fits = |kept| large.admit_record(&large.ahead(), 72, kept);
            assert!(fits(MOST_RECORDS - 72) && !fits(MOST_RECORDS), "a follower may have little memory");
        }
    }

    #[test]
    fn promises_hold_beside_each_other() {
        let (budget, _charge) = filled(192 * MIB, 30 * MIB);
        let first = budget.promise(40 * MIB).expect("it fits");
        assert!(budget.promise(40 * MIB).is_none());
        assert!(budget.admit(&budget.ahead(), 40 * MIB, Purpose::Data), "data may take what was promised");
        first.change(40 * MIB, 10 * MIB);
        assert!(budget.promise(40 * MIB).is_some());
    }

    #[test]
    fn the_rest_of_what_was_promised_must_fit_and_goes_as_far_as_its_parts() {
        let (budget, charge) = filled(192 * MIB, 90 * MIB);
        let rest = budget.promise_rest(11 * MIB).expect("a little more than more data gets");
        assert!(budget.promise_rest(MIB).is_none(), "beside the other one");
        drop(rest);
        charge.change(0, 8 * MIB);
        assert!(!budget.has_room() && budget.promise_rest(3 * MIB).is_some());
        assert!(budget.promise_rest(4 * MIB).is_none(), "others have taken its room");
        charge.change(0, 50 * MIB);
        assert!(budget.promise_rest(0).is_some(), "it is there");
    }

    #[test]
    fn snapshots_that_arrive_together_must_fit_together() {
        let (budget, _charge) = filled(192 * MIB, 60 * MIB);
        assert!(budget.reserve(112 * MIB, 60 * MIB).is_none());
        let first = budget.reserve(70 * MIB, 30 * MIB).expect("it fits");
        assert_eq!(first.bytes(), 40 * MIB);
        assert!(budget.reserve(50 * MIB, 30 * MIB).is_none());
        drop(first);
        assert!(budget.reserve(50 * MIB, 30 * MIB).is_some());
        assert!(budget.reserve(10 * MIB, 30 * MIB).is_some_and(|smaller| smaller.bytes() == 0));
    }

    #[test]
    fn without_a_limit_everything_fits() {
        let budget = Budget::new(None);
        budget.sample(Some(u64::MAX), 1 << 60);
        assert!(budget.has_room() && budget.promise(1 << 61).is_some() && budget.can_hold(1 << 61, 0));
        assert!(budget.has_plenty_for(1 << 61) && budget.admit(&budget.ahead(), 1 << 61, Purpose::Data));
        assert!(budget.reserve(1 << 61, 0).is_some());
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
        assert!(!budget.has_room() && budget.is_full_of_files());
        budget.sample(None, 0);
        assert!(budget.has_room() && !budget.is_full_of_files());
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
        let large = Budget::new(Some(1 << 30));
        assert_eq!(large.buffer(64 << 20), 64 << 20);
        large.share_buffers(16);
        assert_eq!(large.buffer(64 << 20), 4 << 20, "all replicas together have no more");
        assert_eq!(large.server_buffer(64 << 20), 64 << 20, "it is one for all of them");
        large.share_buffers(10_000);
        assert_eq!(large.buffer(64 << 20), 256 << 10);
    }
}
