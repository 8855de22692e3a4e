//! The first assignment of shards to groups.

use crate::GroupId;

/// Shard i belongs to the (i mod G)th of the G groups, in the order given.
/// Empty if there are no groups.
pub fn round_robin(shards: u32, groups: &[GroupId]) -> Vec<GroupId> {
    groups.iter().copied().cycle().take(if groups.is_empty() { 0 } else { shards as usize }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_group_gets_its_share(shards in 1u32..2000, groups in 1u32..50) {
            let groups: Vec<GroupId> = (0..groups).map(GroupId).collect();
            let owners = round_robin(shards, &groups);
            prop_assert_eq!(owners.len(), shards as usize);
            let counts: Vec<usize> = groups.iter().map(|g| owners.iter().filter(|o| *o == g).count()).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn no_groups_own_nothing() {
        assert!(round_robin(10, &[]).is_empty());
    }
}
