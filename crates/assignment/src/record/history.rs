//! The configurations, stored as differences: all of them, until that is too much for one object of the
//! Kubernetes API; then the oldest are dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skv_sharding::{Configuration, GroupId, MapError, ShardId, ShardSet, check_count};

/// The number of groups and shards that all differences together may name, roughly, at some 6 bytes each:
/// with the owners and moves of 10,000 shards a record stays below the 1.5 MiB that etcd takes. Of 240
/// shards in 3 groups these are some 500 changes.
const MOST: usize = 40_000;

/// The past configurations, up to the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History {
    /// The first difference makes the oldest kept configuration out of the empty one, each other the next.
    differences: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Difference {
    /// The number of configurations that came before and aren't kept, other than the empty one. Only the
    /// first difference has any.
    #[serde(default, skip_serializing_if = "is_zero")]
    forgotten: u64,
    groups: Vec<GroupId>,
    /// The shards that have another group than in the configuration before.
    moved: BTreeMap<GroupId, ShardSet>,
}

impl History {
    /// Returns the number of the newest configuration.
    pub fn newest_number(&self) -> u64 {
        self.forgotten() + self.differences.len() as u64
    }

    /// Returns the number of the oldest configuration that is kept beside the empty one; 0: there is none.
    pub fn oldest_number(&self) -> u64 {
        self.newest_number().min(self.forgotten() + 1)
    }

    /// Returns the newest configuration.
    pub fn newest(&self) -> Configuration {
        self.replay(self.differences.len())
    }

    /// Returns the configuration of this number, if there was one and it is kept. Number 0 always is.
    pub fn get(&self, number: u64) -> Option<Configuration> {
        let kept = if number == 0 { 0 } else { number.checked_sub(self.forgotten()).filter(|&n| n > 0)? };
        usize::try_from(kept).ok().filter(|&n| n <= self.differences.len()).map(|n| self.replay(n))
    }

    /// Checks that more configurations can be counted.
    pub(super) fn check(&self) -> Result<(), MapError> {
        self.differences.iter().try_for_each(|difference| check_count("configuration", difference.forgotten))
    }

    fn forgotten(&self) -> u64 {
        self.differences.first().map_or(0, |first| first.forgotten)
    }

    /// Appends a configuration, unless it equals the newest one.
    pub fn push(&mut self, groups: Vec<GroupId>, owners: &[GroupId]) {
        let newest = self.newest();
        if newest.groups == groups && newest.owners == owners {
            return;
        }
        let moved = by_group(&newest.owners, owners);
        self.differences.push(Difference { forgotten: 0, groups, moved });
        self.forget_oldest();
    }

    /// Merges the first differences into one, until the rest isn't too much.
    fn forget_oldest(&mut self) {
        let mut size: usize = self.differences.iter().map(Difference::size).sum();
        let mut gone = 0;
        while size > MOST && gone + 1 < self.differences.len() {
            size -= self.differences[gone].size();
            gone += 1;
        }
        if gone == 0 {
            return;
        }
        let Configuration { groups, owners, .. } = self.replay(gone + 1);
        let forgotten = self.forgotten() + gone as u64;
        self.differences.drain(..gone);
        self.differences[0] = Difference { forgotten, groups, moved: by_group(&[], &owners) };
    }

    /// Returns the configuration that the first differences make together.
    fn replay(&self, count: usize) -> Configuration {
        let number = if count == 0 { 0 } else { self.forgotten() + count as u64 };
        let mut configuration = Configuration { number, ..Configuration::default() };
        for difference in &self.differences[..count] {
            configuration.groups.clone_from(&difference.groups);
            for (&group, shards) in &difference.moved {
                for ShardId(shard) in shards.iter() {
                    let needed = (shard as usize + 1).max(configuration.owners.len());
                    configuration.owners.resize(needed, group);
                    configuration.owners[shard as usize] = group;
                }
            }
        }
        configuration
    }
}

impl Difference {
    /// Returns the number of groups and shards that it names.
    fn size(&self) -> usize {
        self.groups.len() + self.moved.values().map(ShardSet::len).sum::<usize>()
    }
}

/// Returns the shards whose group is another one now.
fn by_group(before: &[GroupId], now: &[GroupId]) -> BTreeMap<GroupId, ShardSet> {
    let mut moved: BTreeMap<GroupId, Vec<ShardId>> = BTreeMap::new();
    for (shard, &group) in now.iter().enumerate() {
        if before.get(shard) != Some(&group) {
            moved.entry(group).or_default().push(ShardId(shard as u32));
        }
    }
    moved.into_iter().map(|(group, shards)| (group, shards.into_iter().collect())).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_configuration_can_be_queried(
            assignments in proptest::collection::vec(proptest::collection::vec(0u32..4, 12), 0..8)
        ) {
            let mut history = History::default();
            let mut expected = vec![Configuration::default()];
            for assignment in assignments {
                let owners: Vec<GroupId> = assignment.into_iter().map(GroupId).collect();
                let mut groups = owners.clone();
                groups.sort_unstable();
                groups.dedup();
                history.push(groups.clone(), &owners);
                if expected.last().is_none_or(|last| last.owners != owners) {
                    expected.push(Configuration { number: expected.len() as u64, groups, owners });
                }
                let stored = serde_json::to_string(&history).unwrap();
                history = serde_json::from_str(&stored).unwrap();
            }
            prop_assert_eq!(history.newest_number() + 1, expected.len() as u64);
            for configuration in &expected {
                prop_assert_eq!(&history.get(configuration.number).unwrap(), configuration);
            }
            prop_assert_eq!(history.get(expected.len() as u64), None);
        }
    }

    #[test]
    fn of_too_many_the_oldest_go_and_numbers_stay_as_they_are() {
        const SHARDS: u32 = 10_000;
        let groups: Vec<GroupId> = (0..200).map(GroupId).collect();
        let owners = |number: u32| -> Vec<GroupId> {
            // The assignment is as irregular as possible: no two neighbours are in one group.
            (0..SHARDS).map(|shard| GroupId((shard * 7919 + shard / (number % 90 + 2)) % 200)).collect()
        };
        let (mut history, changes) = (History::default(), 100);
        for number in 1..=changes {
            history.push(groups.clone(), &owners(number));
        }
        assert_eq!(history.newest_number(), u64::from(changes));
        let oldest = history.oldest_number();
        assert!((2..u64::from(changes)).contains(&oldest), "{oldest}");
        for number in oldest..=u64::from(changes) {
            let kept = history.get(number).unwrap();
            assert_eq!((kept.number, kept.owners), (number, owners(number as u32)));
        }
        assert_eq!(history.get(0), Some(Configuration::default()));
        assert_eq!(history.get(oldest - 1), None);
        assert_eq!(history.get(u64::from(changes) + 1), None);
        let stored = serde_json::to_string(&history).unwrap();
        assert!(stored.len() < 400 << 10, "{} bytes", stored.len());
        assert_eq!(serde_json::from_str::<History>(&stored).unwrap(), history);
    }
}
