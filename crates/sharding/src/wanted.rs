//! The groups that a store should have, if it is asked for a number of them.
//!
//! They are as many as are asked for, and existing ones as far as possible. If there are too many, those
//! are removed that move the least: first those that people have drained, then those that don't share the
//! shards, then those of the highest numbers. If there are too few, new ones get the lowest free numbers.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::GroupId;

/// Returns the groups that a store should have, if it is asked for this number, given the groups that
/// exist, that share the shards, and that people have drained.
pub fn wanted_groups(
    count: u32,
    existing: impl IntoIterator<Item = GroupId>,
    sharing: &BTreeSet<GroupId>,
    drained: &BTreeSet<GroupId>,
) -> BTreeSet<GroupId> {
    let mut by_worth: Vec<GroupId> = existing.into_iter().collect();
    by_worth.sort_by_key(|id| (drained.contains(id), Reverse(sharing.contains(id)), *id));
    by_worth.truncate(count as usize);
    let mut wanted: BTreeSet<GroupId> = by_worth.into_iter().collect();
    let missing = (count as usize).saturating_sub(wanted.len());
    let free: Vec<GroupId> = (0..).map(GroupId).filter(|id| !wanted.contains(id)).take(missing).collect();
    wanted.extend(free);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u32]) -> BTreeSet<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    /// Returns the wanted groups, given those that exist, share the shards and were drained.
    fn choose(count: u32, [existing, sharing, drained]: [&[u32]; 3]) -> BTreeSet<GroupId> {
        wanted_groups(count, ids(existing), &ids(sharing), &ids(drained))
    }

    #[test]
    fn new_groups_get_the_lowest_free_numbers() {
        assert_eq!(choose(3, [&[], &[], &[]]), ids(&[0, 1, 2]));
        assert_eq!(choose(3, [&[0, 2], &[0, 2], &[]]), ids(&[0, 1, 2]));
        assert_eq!(choose(2, [&[0, 2], &[0, 2], &[]]), ids(&[0, 2]), "what exists stays");
    }

    #[test]
    fn drained_groups_go_first_then_those_without_a_share_then_the_highest() {
        assert_eq!(choose(3, [&[0, 1, 2, 3], &[0, 1, 2, 3], &[]]), ids(&[0, 1, 2]));
        assert_eq!(choose(3, [&[0, 1, 2, 3], &[0, 2, 3], &[]]), ids(&[0, 2, 3]));
        assert_eq!(choose(2, [&[0, 1, 2, 3], &[0, 2], &[1]]), ids(&[0, 2]));
        assert_eq!(choose(3, [&[0, 1, 2, 3], &[0, 2], &[1]]), ids(&[0, 2, 3]));
    }
}
