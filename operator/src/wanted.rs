//! Which groups a resource is to have. Pure.
//!
//! As many as it asks for, of those that exist as far as possible. Too many are taken away
//! where that moves the least: first those that people have drained, then those that don't
//! share the shards, then those of the highest numbers. Too few are made under the lowest
//! numbers that are free.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use skv_sharding::GroupId;

use crate::dereference::{ObservedGroup, ObservedMap};

/// The groups that a resource is to have, if it asks for so many.
pub(crate) fn wanted(
    count: u32,
    groups: &BTreeMap<GroupId, ObservedGroup>,
    map: Option<&ObservedMap>,
) -> BTreeSet<GroupId> {
    let is_drained = |id: &GroupId| map.is_some_and(|map| map.drained.contains(id));
    let shares = |id: &GroupId| map.is_some_and(|map| map.sharing.contains(id));
    let existing = groups.iter().filter(|(_, group)| !group.retired()).map(|(id, _)| *id);
    let mut by_worth: Vec<GroupId> = existing.collect();
    by_worth.sort_by_key(|id| (is_drained(id), Reverse(shares(id)), *id));
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
    use crate::dereference::ObservedSet;

    fn ids(numbers: &[u32]) -> BTreeSet<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    /// What is wanted of groups that exist, share the shards and were drained.
    fn choose(count: u32, [existing, sharing, drained]: [&[u32]; 3]) -> BTreeSet<GroupId> {
        let groups = ids(existing).into_iter().map(|id| (id, ObservedGroup::default())).collect();
        let map = ObservedMap { sharing: ids(sharing), drained: ids(drained), ..ObservedMap::default() };
        wanted(count, &groups, Some(&map))
    }

    #[test]
    fn new_groups_get_the_lowest_free_numbers() {
        assert_eq!(wanted(3, &BTreeMap::new(), None), ids(&[0, 1, 2]));
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

    #[test]
    fn a_group_that_is_no_more_is_made_again_if_it_is_needed() {
        let retired = ObservedSet { retired: true, ..ObservedSet::default() };
        let gone = ObservedGroup { set: Some(retired), ..ObservedGroup::default() };
        let groups = [(GroupId(0), ObservedGroup::default()), (GroupId(1), gone)].into();
        assert_eq!(wanted(1, &groups, None), ids(&[0]));
        assert_eq!(wanted(2, &groups, None), ids(&[0, 1]));
    }
}
