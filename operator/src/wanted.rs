//! Which groups a resource is to have. Pure.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::ShardedKvSpec;
use skv_sharding::{GroupId, wanted_groups};

use crate::dereference::{Observed, ObservedMap, ObservedServers};

/// The groups that a resource is to have. Those of a ring are what they are.
pub(crate) fn wanted(spec: &ShardedKvSpec, seen: &Observed) -> BTreeSet<GroupId> {
    match spec.ring() {
        Some(ring) => ring.groups().collect(),
        None => wanted_of(spec.groups, &seen.groups(), seen.map.as_ref()),
    }
}

/// The groups to have, if so many are asked for and each has servers of its own.
pub(crate) fn wanted_of(
    count: u32,
    groups: &BTreeMap<GroupId, ObservedServers>,
    map: Option<&ObservedMap>,
) -> BTreeSet<GroupId> {
    let existing = groups.iter().filter(|(_, group)| !group.retired()).map(|(id, _)| *id);
    let none = BTreeSet::new();
    let (sharing, drained) = map.map_or((&none, &none), |map| (&map.sharing, &map.drained));
    wanted_groups(count, existing, sharing, drained)
}

#[cfg(test)]
mod tests {
    use skv_sharding::GroupUid;

    use super::*;
    use crate::dereference::ObservedSet;
    use crate::placement;

    fn ids(numbers: &[u32]) -> BTreeSet<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    #[test]
    fn what_the_shard_manager_says_of_the_groups_decides_which_go() {
        let groups = ids(&[0, 1, 2, 3]).into_iter().map(|id| (id, ObservedServers::default())).collect();
        let map = ObservedMap { sharing: ids(&[0, 2]), drained: ids(&[1]), ..ObservedMap::default() };
        assert_eq!(wanted_of(3, &groups, Some(&map)), ids(&[0, 2, 3]));
        assert_eq!(wanted_of(3, &groups, None), ids(&[0, 1, 2]));
    }

    #[test]
    fn a_group_that_the_shard_manager_knows_exists_also_without_servers() {
        let wanted = |founded: &[u32]| {
            let uid = |id| (id, GroupUid(1));
            let map = ObservedMap {
                sharing: ids(founded),
                founded: ids(founded).into_iter().map(uid).collect(),
                ..ObservedMap::default()
            };
            let spec = ShardedKvSpec { groups: 2, ..ShardedKvSpec::default() };
            let mut seen = Observed { map: Some(map), ..Observed::default() };
            placement::add_founded(&spec, seen.map.as_ref(), &mut seen.servers);
            assert_eq!(placement::groups(&spec, seen.servers.keys()), ids(founded));
            super::wanted(&spec, &seen)
        };
        assert_eq!(wanted(&[0, 1, 2]), ids(&[0, 1]));
        assert_eq!(wanted(&[0, 2]), ids(&[0, 2]), "no g1 takes the place of g2");
    }

    #[test]
    fn a_group_that_is_no_more_is_made_again_if_it_is_needed() {
        let retired = ObservedSet { retired: true, ..ObservedSet::default() };
        let gone = ObservedServers { set: Some(retired), ..ObservedServers::default() };
        let groups = [(GroupId(0), ObservedServers::default()), (GroupId(1), gone)].into();
        assert_eq!(wanted_of(1, &groups, None), ids(&[0]));
        assert_eq!(wanted_of(2, &groups, None), ids(&[0, 1]));
    }
}
