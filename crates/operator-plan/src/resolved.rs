//! A valid resource, and all that follows from it and from the observed state. It is worked out once, and
//! handed to the code that decides, builds or reports.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::ShardedKvSpec;
use skv_sharding::GroupId;
use skv_turnover::Group;

use crate::names::{Names, ServerSet};
use crate::observed::Observed;
use crate::placement;
use crate::restart::restart_hash;

/// A resource in its intended form.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The names of all its objects.
    pub names: Names,
    /// The specification, which is valid.
    pub spec: ShardedKvSpec,
    /// The hash of the settings that restart servers.
    pub restart_hash: String,
    /// The groups that it should have.
    pub wanted: BTreeSet<GroupId>,
    /// The servers that these groups have.
    pub sets: BTreeSet<ServerSet>,
}

impl Resolved {
    /// Resolves a valid specification by the observed state.
    pub fn of(names: Names, spec: &ShardedKvSpec, seen: &Observed) -> Result<Resolved, serde_json::Error> {
        let wanted = match spec.ring() {
            // The groups of a ring are fixed.
            Some(ring) => ring.groups().collect(),
            None => skv_turnover::wanted(spec.groups, &candidates(spec, seen), seen.assignment()),
        };
        let resolved = Resolved {
            names,
            spec: spec.clone(),
            restart_hash: restart_hash(spec)?,
            wanted: BTreeSet::new(),
            sets: BTreeSet::new(),
        };
        Ok(resolved.with_wanted(wanted))
    }

    /// Returns the same with these groups: a caller that asked the servers knows better.
    #[must_use]
    pub fn with_wanted(self, wanted: BTreeSet<GroupId>) -> Resolved {
        let sets = placement::server_sets(&self.spec, wanted.iter().copied());
        Resolved { wanted, sets, ..self }
    }
}

/// Returns the existing groups that may be among those that the resource should have. The first configuration
/// has the groups of the lowest numbers and no others, so that until then one with a higher number can't take
/// the place of one that couldn't be made.
fn candidates(spec: &ShardedKvSpec, seen: &Observed) -> BTreeMap<GroupId, Group> {
    let mut groups = seen.known_groups();
    groups.retain(|id, _| !seen.is_new || id.0 < spec.groups);
    groups
}

#[cfg(test)]
mod tests {
    use skv_sharding::GroupUid;
    use skv_turnover::Assignment;

    use super::*;
    use crate::observed::{ObservedMap, ObservedServers, ObservedSet};

    fn ids(numbers: &[u32]) -> BTreeSet<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    fn wanted(count: u32, seen: &Observed) -> BTreeSet<GroupId> {
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        let spec = ShardedKvSpec { groups: count, ..ShardedKvSpec::default() };
        let resolved = Resolved::of(names, &spec, seen).unwrap();
        assert_eq!(resolved.sets, resolved.wanted.iter().copied().map(ServerSet::Group).collect());
        resolved.wanted
    }

    fn servers(groups: &[u32]) -> Observed {
        let made = ObservedServers { set: Some(ObservedSet::default()), ..ObservedServers::default() };
        let servers = ids(groups).into_iter().map(|id| (ServerSet::Group(id), made.clone())).collect();
        Observed { servers, ..Observed::default() }
    }

    fn map(assignment: Assignment) -> ObservedMap {
        ObservedMap { assignment, ..ObservedMap::default() }
    }

    #[test]
    fn what_the_shard_manager_says_of_the_groups_decides_which_go() {
        let seen = servers(&[0, 1, 2, 3]);
        assert_eq!(wanted(3, &seen), ids(&[0, 1, 2]));
        let drained = Assignment { sharing: ids(&[0, 2]), drained: ids(&[1]), ..Assignment::default() };
        assert_eq!(wanted(3, &Observed { map: Some(map(drained)), ..seen }), ids(&[0, 2, 3]));
    }

    #[test]
    fn a_store_begins_with_the_groups_of_the_lowest_numbers_whatever_was_made_of_others() {
        let seen = Observed { is_new: true, ..servers(&[0, 2]) };
        assert_eq!(wanted(2, &seen), ids(&[0, 1]), "the shard manager waits for g1");
        assert_eq!(wanted(3, &seen), ids(&[0, 1, 2]));
        assert_eq!(wanted(2, &Observed { is_new: false, ..seen }), ids(&[0, 2]), "both may have shards");
    }

    #[test]
    fn a_group_that_the_shard_manager_knows_exists_also_without_servers() {
        let wanted_of = |founded: &[u32]| {
            let uid = |id| (id, GroupUid(1));
            let assignment = Assignment {
                sharing: ids(founded),
                founded: ids(founded).into_iter().map(uid).collect(),
                ..Assignment::default()
            };
            let spec = ShardedKvSpec { groups: 2, ..ShardedKvSpec::default() };
            let seen = Observed::default().with_map(&spec, Some(map(assignment)));
            assert_eq!(placement::groups(&spec, seen.servers.keys()), ids(founded));
            wanted(2, &seen)
        };
        assert_eq!(wanted_of(&[0, 1, 2]), ids(&[0, 1]));
        assert_eq!(wanted_of(&[0, 2]), ids(&[0, 2]), "no g1 takes the place of g2");
    }

    #[test]
    fn a_group_that_is_no_more_is_made_again_if_it_is_needed() {
        let mut seen = servers(&[0, 1]);
        let retired = ObservedSet { retired: true, ..ObservedSet::default() };
        seen.servers.get_mut(&ServerSet::Group(GroupId(1))).unwrap().set = Some(retired);
        assert_eq!(wanted(1, &seen), ids(&[0]));
        assert_eq!(wanted(2, &seen), ids(&[0, 1]));
    }

    #[test]
    fn the_groups_of_a_ring_are_what_they_are() {
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        let placement = skv_resource::Placement::Ring;
        let spec = ShardedKvSpec { groups: 3, shards: 3, placement, ..ShardedKvSpec::default() };
        let resolved = Resolved::of(names, &spec, &Observed::default()).unwrap();
        assert_eq!((resolved.wanted, resolved.sets), (ids(&[0, 1, 2]), [ServerSet::Ring].into()));
    }
}
