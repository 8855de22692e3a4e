//! The log as its readers see it: the entries that exist, their places, and the payloads of the
//! newest ones.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::entry::{Entry, LogId};
use crate::segment::Place;

/// The cost of an entry in the cache beyond its payload, in bytes.
const SLOT_BYTES: usize = 64;

/// An entry that isn't the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {got} can't be appended: the next one is {expected}")]
pub(super) struct Gap {
    got: u64,
    expected: u64,
}

/// All entries since the last purge.
#[derive(Debug)]
pub(super) struct Index {
    purged: Option<LogId>,
    /// The index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// The payloads of the last slots.
    cache: VecDeque<Bytes>,
    cached_bytes: usize,
    cache_limit: usize,
    /// The number of truncations, which tells an entry from a later one of the same index.
    generation: u32,
}

#[derive(Debug)]
struct Slot {
    term: u64,
    leader: u64,
    /// The place of the entry; `None` until it is durable. Such entries are always cached.
    place: Option<Place>,
    len: u32,
    generation: u32,
    kind: u8,
}

/// An entry that must be read from its segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) id: LogId,
    pub(super) kind: u8,
    pub(super) len: u32,
    pub(super) place: Place,
}

/// A range of entries: first those on disk, then those in memory.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) stored: Vec<Stored>,
    pub(super) cached: Vec<Entry>,
}

impl Index {
    /// Returns an empty log.
    pub(super) fn new(cache_limit: usize) -> Self {
        Index {
            purged: None,
            first: 0,
            slots: VecDeque::new(),
            cache: VecDeque::new(),
            cached_bytes: 0,
            cache_limit,
            generation: 0,
        }
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// Returns the last entry; the last purged one if none is left.
    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.len().checked_sub(1).map(|at| self.id(at)).or(self.purged)
    }

    /// Returns the indexes of all entries.
    pub(super) fn range(&self) -> Range<u64> {
        self.first..self.first + self.slots.len() as u64
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    fn id(&self, at: usize) -> LogId {
        let slot = &self.slots[at];
        LogId { term: slot.term, leader: slot.leader, index: self.first + at as u64 }
    }

    /// Checks that this is the index of the next entry; a log that never had one takes any.
    pub(super) fn check_next(&self, got: u64) -> Result<(), Gap> {
        match self.last() {
            Some(last) if last.index + 1 != got => Err(Gap { got, expected: last.index + 1 }),
            _ => Ok(()),
        }
    }

    /// Adds an entry that isn't durable yet.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), Gap> {
        self.push(entry.id, entry.kind, entry.payload.len() as u32, None)?;
        self.cache.push_back(entry.payload.clone());
        self.cached_bytes += entry.payload.len() + SLOT_BYTES;
        Ok(())
    }

    /// Adds an entry that was found on disk.
    pub(super) fn found(&mut self, id: LogId, kind: u8, len: u32, place: Place) -> Result<(), Gap> {
        self.push(id, kind, len, Some(place))
    }

    fn push(&mut self, id: LogId, kind: u8, len: u32, place: Option<Place>) -> Result<(), Gap> {
        self.check_next(id.index)?;
        if self.slots.is_empty() {
            self.first = id.index;
        }
        let generation = self.generation;
        self.slots.push_back(Slot { term: id.term, leader: id.leader, place, len, generation, kind });
        Ok(())
    }

    /// Notes the place of an entry, unless it was truncated or purged meanwhile.
    pub(super) fn set_place(&mut self, index: u64, generation: u32, place: Place) {
        let slot = index.checked_sub(self.first).and_then(|at| self.slots.get_mut(at as usize));
        if let Some(slot) = slot.filter(|slot| slot.generation == generation) {
            slot.place = Some(place);
        }
    }

    /// Returns true if the log holds just this entry, durably.
    pub(super) fn is_durable(&self, id: LogId) -> bool {
        let at = id.index.wrapping_sub(self.first) as usize;
        self.slots.get(at).is_some_and(|slot| slot.place.is_some()) && self.id(at) == id
    }

    /// Forgets the oldest payloads that are durable, down to the limit.
    pub(super) fn trim_cache(&mut self) {
        while self.cached_bytes > self.cache_limit {
            let oldest = self.slots.len() - self.cache.len();
            if self.slots.get(oldest).is_none_or(|slot| slot.place.is_none()) {
                return;
            }
            self.drop_cached_front();
        }
    }

    fn drop_cached_front(&mut self) {
        if let Some(payload) = self.cache.pop_front() {
            self.cached_bytes -= payload.len() + SLOT_BYTES;
        }
    }

    /// Begins a replay in the middle: what came before is taken for purged.
    pub(super) fn start_after(&mut self, last: Option<LogId>) {
        self.purged = last;
        self.first = last.map_or(0, |id| id.index + 1);
    }

    /// Drops the entries from an index on. An index below the first one comes from a replay that
    /// didn't see all of them: the next entry has this index.
    pub(super) fn truncate_from(&mut self, index: u64) {
        self.generation += 1;
        if index < self.first {
            self.start_after(index.checked_sub(1).map(|index| LogId { term: 0, leader: 0, index }));
        }
        let keep = index.saturating_sub(self.first) as usize;
        while self.slots.len() > keep {
            self.slots.pop_back();
            if let Some(payload) = self.cache.pop_back() {
                self.cached_bytes -= payload.len() + SLOT_BYTES;
            }
        }
    }

    /// Drops the entries up to one, which may lie beyond the last.
    pub(super) fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        self.purged = Some(upto);
        while !self.slots.is_empty() && self.first <= upto.index {
            if self.cache.len() == self.slots.len() {
                self.drop_cached_front();
            }
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.is_empty() {
            self.first = upto.index + 1;
        }
    }

    /// Ends a replay that took everything before the first segment for purged; returns true if that
    /// was right.
    pub(super) fn confirm_purged(&mut self, purged: Option<LogId>) -> bool {
        let confirmed = self.purged.map(|id| id.index) <= purged.map(|id| id.index);
        self.purged = purged;
        confirmed
    }

    /// Returns the existing entries of a range: until their payloads reach `limit` bytes, but at
    /// least one.
    pub(super) fn find(&self, range: &Range<u64>, limit: usize) -> Found {
        let all = self.range();
        let (start, end) = (range.start.max(all.start), range.end.min(all.end));
        let uncached = self.slots.len() - self.cache.len();
        let mut found = Found::default();
        let mut bytes = 0;
        for index in start..end {
            let at = (index - self.first) as usize;
            let (id, slot) = (self.id(at), &self.slots[at]);
            bytes += slot.len as usize;
            if bytes > limit && index > start {
                break;
            }
            match (at.checked_sub(uncached), slot.place) {
                (Some(cached), _) => {
                    found.cached.push(Entry { id, kind: slot.kind, payload: self.cache[cached].clone() });
                }
                (None, Some(place)) => {
                    found.stored.push(Stored { id, kind: slot.kind, len: slot.len, place })
                }
                (None, None) => unreachable!("entry {index} is neither cached nor on disk"),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, len: usize) -> Entry {
        Entry { id: LogId { term: 1, leader: 1, index }, kind: 0, payload: Bytes::from(vec![1; len]) }
    }

    fn place(offset: u32) -> Place {
        Place { segment: 1, offset }
    }

    fn indexes(found: &Found) -> (Vec<u64>, Vec<u64>) {
        (found.stored.iter().map(|s| s.id.index).collect(), found.cached.iter().map(|e| e.id.index).collect())
    }

    #[test]
    fn only_durable_entries_leave_the_cache() {
        let mut index = Index::new(0);
        for i in 0..4 {
            index.append(&entry(i, 10)).unwrap();
        }
        index.set_place(0, 0, place(0));
        index.set_place(2, 0, place(2));
        index.trim_cache();
        assert_eq!(indexes(&index.find(&(0..9), usize::MAX)), (vec![0], vec![1, 2, 3]));
    }

    #[test]
    fn an_entry_does_not_get_the_place_of_a_truncated_one() {
        let mut index = Index::new(0);
        index.append(&entry(0, 1)).unwrap();
        index.append(&entry(1, 1)).unwrap();
        index.truncate_from(1);
        index.append(&entry(1, 1)).unwrap();
        index.set_place(0, 0, place(0));
        index.set_place(1, 0, place(1));
        index.trim_cache();
        assert_eq!(indexes(&index.find(&(0..2), usize::MAX)), (vec![0], vec![1]));
    }

    #[test]
    fn a_limited_range_has_at_least_one_entry() {
        let mut index = Index::new(usize::MAX);
        for i in 5..9 {
            index.append(&entry(i, 10)).unwrap();
        }
        assert_eq!(indexes(&index.find(&(6..9), 5)).1, [6]);
        assert_eq!(indexes(&index.find(&(6..9), 20)).1, [6, 7]);
        assert_eq!(indexes(&index.find(&(0..100), usize::MAX)).1, [5, 6, 7, 8]);
        assert_eq!(indexes(&index.find(&(7..7), usize::MAX)).1, [0; 0]);
        assert_eq!(indexes(&index.find(&(20..30), usize::MAX)).1, [0; 0]);
    }

    #[test]
    fn a_purge_may_go_beyond_the_last_entry() {
        let mut index = Index::new(usize::MAX);
        for i in 0..4 {
            index.append(&entry(i, 10)).unwrap();
        }
        index.purge(entry(1, 0).id);
        assert_eq!((index.range(), index.last().map(|id| id.index)), (2..4, Some(3)));
        index.purge(entry(0, 0).id);
        assert_eq!(index.range(), 2..4, "a purge never goes back");
        index.purge(entry(9, 0).id);
        assert_eq!((index.range(), index.last().map(|id| id.index)), (10..10, Some(9)));
        assert!(index.append(&entry(4, 0)).is_err());
        index.append(&entry(10, 0)).unwrap();
        assert_eq!(index.cached_bytes, SLOT_BYTES);
    }
}
