//! Which groups a resource is to have. Pure.

use std::collections::{BTreeMap, BTreeSet};

use skv_sharding::{GroupId, wanted_groups};

use crate::dereference::{ObservedGroup, ObservedMap};

/// The groups that a resource is to have, if it asks for so many.
pub(crate) fn wanted(
    count: u32,
    groups: &BTreeMap<GroupId, ObservedGroup>,
    map: Option<&ObservedMap>,
) -> BTreeSet<GroupId> {
    let existing = groups.iter().filter(|(_, group)| !group.retired()).map(|(id, _)| *id);
    let none = BTreeSet::new();
    let (sharing, drained) = map.map_or((&none, &none), |map| (&map.sharing, &map.drained));
    wanted_groups(count, existing, sharing, drained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dereference::ObservedSet;

    fn ids(numbers: &[u32]) -> BTreeSet<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    #[test]
    fn what_the_shard_manager_says_of_the_groups_decides_which_go() {
        let groups = ids(&[0, 1, 2, 3]).into_iter().map(|id| (id, ObservedGroup::default())).collect();
        let map = ObservedMap { sharing: ids(&[0, 2]), drained: ids(&[1]), ..ObservedMap::default() };
        assert_eq!(wanted(3, &groups, Some(&map)), ids(&[0, 2, 3]));
        assert_eq!(wanted(3, &groups, None), ids(&[0, 1, 2]));
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
