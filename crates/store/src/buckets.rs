//! A hash table in buckets that are shared with snapshots and copied when they are next
//! written to: linear hashing (Litwin, 1980), so that it grows one bucket at a time.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A bucket is split when there are more items than this for each bucket.
const SPLIT_ABOVE: usize = 256;

/// The most buckets that are made for what is only announced. A larger table grows as it is filled.
const MOST_AT_FIRST: usize = 1 << 16;

/// Two buckets are merged when there are fewer items than this for each bucket.
const MERGE_BELOW: usize = 64;

/// Items found by hash. A clone costs one reference per bucket; afterwards each side
/// copies a bucket before it changes it.
#[derive(Debug, Clone)]
pub(super) struct Buckets<T> {
    tables: Vec<Arc<HashTable<T>>>,
    len: usize,
    /// The bytes of all buckets that were copied because a clone had them too.
    copied: u64,
}

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self { tables: vec![Arc::default()], len: 0, copied: 0 }
    }
}

impl<T: Clone> Buckets<T> {
    /// Returns an empty table with buckets for this many items.
    pub(super) fn with_capacity(items: usize) -> Self {
        let tables = items.div_ceil(SPLIT_ABOVE).clamp(1, MOST_AT_FIRST);
        Self { tables: vec![Arc::default(); tables], len: 0, copied: 0 }
    }

    /// Returns the number of items.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the bytes of all buckets that were copied so far because a clone had them too.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Returns a bucket that may be changed.
    fn own(&mut self, index: usize) -> &mut HashTable<T> {
        let bucket = &mut self.tables[index];
        self.copied += to_copy(bucket);
        Arc::make_mut(bucket)
    }

    /// Returns the item that `eq` recognises.
    pub(super) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        self.tables[self.index(hash)].find(hash, eq)
    }

    /// Like [`Buckets::find`]. A bucket is copied only if it has the item.
    pub(super) fn find_mut(&mut self, hash: u64, eq: impl Fn(&T) -> bool) -> Option<&mut T> {
        let index = self.index(hash);
        self.tables[index].find(hash, &eq)?;
        self.own(index).find_mut(hash, eq)
    }

    /// Puts `item` in the place of the one that is the `same`, which is returned, or adds it.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        item: T,
        same: impl Fn(&T, &T) -> bool,
        hasher: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let index = self.index(hash);
        match self.own(index).entry(hash, |other| same(other, &item), &hasher) {
            Entry::Occupied(mut entry) => return Some(std::mem::replace(entry.get_mut(), item)),
            Entry::Vacant(entry) => entry.insert(item),
        };
        self.len += 1;
        if self.len > SPLIT_ABOVE * self.tables.len() {
            self.split(hasher);
        }
        None
    }

    /// Takes out the item that `eq` recognises. A bucket is copied only if it has the item.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        eq: impl Fn(&T) -> bool,
        hasher: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let index = self.index(hash);
        self.tables[index].find(hash, &eq)?;
        let (item, _) = self.own(index).find_entry(hash, eq).ok()?.remove();
        self.len -= 1;
        if self.tables.len() > 1 && self.len < MERGE_BELOW * self.tables.len() {
            self.merge(hasher);
        }
        Some(item)
    }

    /// Returns all items, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.tables.iter().flat_map(|bucket| bucket.iter())
    }

    /// Returns all items, in no order. Each bucket is let go of once its items are taken, so that the
    /// other side needn't copy it any more.
    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.tables.into_iter().flat_map(take)
    }

    /// Frees one bucket with each item of the iterator.
    pub(super) fn into_parts(self) -> impl Iterator<Item = ()> {
        self.tables.into_iter().map(drop)
    }

    /// Returns the bucket of a hash. The table inside a bucket uses the lowest and the seven highest
    /// bits, so these are others.
    fn index(&self, hash: u64) -> usize {
        let mask = self.tables.len().next_power_of_two() - 1;
        let index = (hash >> 32) as usize & mask;
        if index < self.tables.len() { index } else { index & (mask >> 1) }
    }

    /// Adds a bucket, and moves to it what belongs there from the one that it splits.
    fn split(&mut self, hasher: impl Fn(&T) -> u64) {
        let new = self.tables.len();
        let old = new - (1 << new.ilog2());
        let items = std::mem::take(&mut self.tables[old]);
        self.copied += to_copy(&items);
        self.tables.push(Arc::default());
        let mut halves = [HashTable::with_capacity(SPLIT_ABOVE), HashTable::with_capacity(SPLIT_ABOVE)];
        for item in take(items) {
            let hash = hasher(&item);
            halves[usize::from(self.index(hash) == new)].insert_unique(hash, item, &hasher);
        }
        [self.tables[old], self.tables[new]] = halves.map(Arc::new);
    }

    /// Undoes the last split.
    fn merge(&mut self, hasher: impl Fn(&T) -> u64) {
        let Some(last) = self.tables.pop() else { return };
        self.copied += to_copy(&last);
        let old = self.tables.len() - (1 << self.tables.len().ilog2());
        let target = self.own(old);
        for item in take(last) {
            target.insert_unique(hasher(&item), item, &hasher);
        }
        target.shrink_to_fit(hasher);
    }
}

/// Returns the bytes of a bucket that must be copied before it changes, since a clone has it too; else 0.
fn to_copy<T>(bucket: &Arc<HashTable<T>>) -> u64 {
    if Arc::strong_count(bucket) > 1 { bucket.allocation_size() as u64 } else { 0 }
}

/// Returns a bucket's items: moved if nobody shares the bucket, else cloned.
fn take<T: Clone>(bucket: Arc<HashTable<T>>) -> impl Iterator<Item = T> {
    Arc::try_unwrap(bucket).unwrap_or_else(|shared| HashTable::clone(&shared)).into_iter()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::BuildHasher as _;

    use foldhash::quality::FixedState;
    use proptest::prelude::*;

    use super::*;

    type Pair = (u16, u64);

    fn hash(pair: &Pair) -> u64 {
        FixedState::with_seed(7).hash_one(pair.0)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u16, u64),
        Change(u16, u64),
        Remove(u16),
        /// A run of keys, so that buckets split and merge.
        InsertMany(u16, u16),
        RemoveMany(u16, u16),
        View,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0u16..3000;
        prop_oneof![
            4 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Insert(k, v)),
            2 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Change(k, v)),
            2 => key.clone().prop_map(Step::Remove),
            1 => (key.clone(), 0u16..1500).prop_map(|(k, n)| Step::InsertMany(k, n)),
            1 => (key, 0u16..1500).prop_map(|(k, n)| Step::RemoveMany(k, n)),
            1 => Just(Step::View),
        ]
    }

    fn contents(table: &Buckets<Pair>) -> BTreeMap<u16, u64> {
        let contents: BTreeMap<u16, u64> = table.clone().into_items().collect();
        assert_eq!(contents.len(), table.len());
        contents
    }

    fn insert(table: &mut Buckets<Pair>, key: u16, value: u64) -> Option<u64> {
        table.insert(hash(&(key, 0)), (key, value), |a, b| a.0 == b.0, hash).map(|p| p.1)
    }

    fn remove(table: &mut Buckets<Pair>, key: u16) -> Option<u64> {
        table.remove(hash(&(key, 0)), |p| p.0 == key, hash).map(|p| p.1)
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_and_views_never_change(steps in proptest::collection::vec(step(), 1..60)) {
            let mut table = Buckets::default();
            let mut model = BTreeMap::new();
            let mut views = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(k, v) => prop_assert_eq!(insert(&mut table, k, v), model.insert(k, v)),
                    Step::Change(k, v) => {
                        let found = table.find_mut(hash(&(k, 0)), |p| p.0 == k).map(|p| p.1 = v);
                        prop_assert_eq!(found, model.get_mut(&k).map(|old| *old = v));
                    }
                    Step::Remove(k) => prop_assert_eq!(remove(&mut table, k), model.remove(&k)),
                    Step::InsertMany(k, n) => for k in k..k + n {
                        prop_assert_eq!(insert(&mut table, k, 1), model.insert(k, 1));
                    },
                    Step::RemoveMany(k, n) => for k in k..k + n {
                        prop_assert_eq!(remove(&mut table, k), model.remove(&k));
                    },
                    Step::View => views.push((table.clone(), model.clone())),
                }
                let buckets = table.tables.len();
                prop_assert!(table.len() <= SPLIT_ABOVE * buckets);
                prop_assert!(buckets == 1 || table.len() + 1 >= MERGE_BELOW * (buckets - 1));
            }
            for k in 0..4500 {
                prop_assert_eq!(table.find(hash(&(k, 0)), |p| p.0 == k).map(|p| p.1), model.get(&k).copied());
            }
            views.push((table, model));
            for (view, model) in views {
                prop_assert_eq!(contents(&view), model);
            }
        }
    }

    #[test]
    fn every_bucket_that_only_a_clone_has_left_counts_as_copied() {
        let (mut table, keys) = (Buckets::default(), 2000);
        let mut count = |change: &dyn Fn(&mut Buckets<Pair>) -> Option<u64>| {
            let (clone, before) = (table.clone(), table.copied());
            change(&mut table);
            let is_left = |old: &&Arc<HashTable<Pair>>| !table.tables.iter().any(|new| Arc::ptr_eq(old, new));
            let left: usize = clone.tables.iter().filter(is_left).map(|old| old.allocation_size()).sum();
            assert_eq!(table.copied() - before, left as u64);
        };
        // Buckets split, and merge again.
        for key in 0..keys {
            count(&|table| insert(table, key, 0));
        }
        for key in 0..keys {
            count(&|table| remove(table, key));
        }
    }

    #[test]
    fn a_write_copies_one_bucket_only() {
        let mut table = Buckets::with_capacity(10_000);
        for key in 0..10_000 {
            insert(&mut table, key, 0);
        }
        let view = table.clone();
        insert(&mut table, 17, 1);
        let copied = table.tables.iter().zip(&view.tables).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 1);
    }
}
