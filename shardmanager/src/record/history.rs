//! All configurations from 0 (empty) on, stored as differences.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skv_sharding::{Configuration, GroupId, ShardId, ShardSet};

/// Every configuration there was; never loses one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History {
    /// The first makes configuration 1 out of the empty one, and so on.
    differences: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Difference {
    groups: Vec<GroupId>,
    /// The shards that have another group than in the configuration before.
    moved: BTreeMap<GroupId, ShardSet>,
}

impl History {
    /// The number of the newest configuration.
    pub fn newest_number(&self) -> u64 {
        self.differences.len() as u64
    }

    /// The newest configuration.
    pub fn newest(&self) -> Configuration {
        self.replay(self.differences.len())
    }

    /// The configuration of this number, if there was one.
    pub fn get(&self, number: u64) -> Option<Configuration> {
        usize::try_from(number).ok().filter(|&n| n <= self.differences.len()).map(|n| self.replay(n))
    }

    /// Appends a configuration, unless it is what the newest one is.
    pub fn push(&mut self, groups: Vec<GroupId>, owners: &[GroupId]) {
        let newest = self.newest();
        if newest.groups == groups && newest.owners == owners {
            return;
        }
        let mut moved: BTreeMap<GroupId, Vec<ShardId>> = BTreeMap::new();
        for (shard, &group) in owners.iter().enumerate() {
            if newest.owners.get(shard) != Some(&group) {
                moved.entry(group).or_default().push(ShardId(shard as u32));
            }
        }
        let moved = moved.into_iter().map(|(group, shards)| (group, shards.into_iter().collect())).collect();
        self.differences.push(Difference { groups, moved });
    }

    fn replay(&self, number: usize) -> Configuration {
        let mut configuration = Configuration { number: number as u64, ..Configuration::default() };
        for difference in &self.differences[..number] {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_configuration_can_be_queried_for_ever(
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
}
