//! The way from groups to the servers that host their replicas, and back.

use std::collections::BTreeSet;

use skv_resource::ShardedKvSpec;
use skv_sharding::{GroupId, Ring};

use crate::names::ServerSet;
use crate::observed::ObservedServers;

/// Returns the servers that a resource with these groups needs.
pub fn server_sets(spec: &ShardedKvSpec, groups: impl IntoIterator<Item = GroupId>) -> BTreeSet<ServerSet> {
    groups.into_iter().map(|group| set_of(spec, group)).collect()
}

/// Returns the set of servers to which those of a group belong.
pub fn set_of(spec: &ShardedKvSpec, group: GroupId) -> ServerSet {
    if spec.ring().is_some() { ServerSet::Ring } else { ServerSet::Group(group) }
}

/// Returns the number of servers that the specification asks for.
pub fn servers(spec: &ShardedKvSpec, set: ServerSet) -> u32 {
    match set {
        ServerSet::Group(_) => spec.replicas,
        ServerSet::Ring => spec.groups,
    }
}

/// Returns the groups that have servers, given the existing sets.
pub fn groups<'a>(spec: &ShardedKvSpec, sets: impl IntoIterator<Item = &'a ServerSet>) -> BTreeSet<GroupId> {
    sets.into_iter().flat_map(|set| groups_of(spec, *set)).collect()
}

fn groups_of(spec: &ShardedKvSpec, set: ServerSet) -> Vec<GroupId> {
    match set {
        ServerSet::Group(group) => vec![group],
        ServerSet::Ring => spec.ring().into_iter().flat_map(Ring::groups).collect(),
    }
}

/// Returns the groups of which one server hosts a replica.
pub fn hosted_by(spec: &ShardedKvSpec, set: ServerSet, ordinal: u32) -> Vec<GroupId> {
    match set {
        ServerSet::Group(group) => vec![group],
        ServerSet::Ring => spec.ring().into_iter().flat_map(|ring| ring.groups_of(ordinal)).collect(),
    }
}

/// Returns the ordinals of a group's servers in their set, which has this number of servers.
pub fn places(spec: &ShardedKvSpec, group: GroupId, servers: u32) -> Vec<u32> {
    match spec.ring() {
        Some(ring) => ring.servers_of(group).collect(),
        None => (0..servers).collect(),
    }
}

/// Returns the number of a group's servers, and how many of them are ready.
pub fn replicas(spec: &ShardedKvSpec, group: GroupId, servers: &ObservedServers) -> (u32, u32) {
    let places = places(spec, group, servers.replicas());
    let pod = |place| servers.pods.get(place);
    let ready = places.iter().filter_map(pod).filter(|pod| pod.is_ready()).count();
    (places.len() as u32, ready as u32)
}
