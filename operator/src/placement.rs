//! Which servers there are, and which groups each of them hosts a replica of. Pure.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::ShardedKvSpec;
use skv_sharding::{GroupId, Ring};

use crate::dereference::{ObservedMap, ObservedServers};
use crate::names::ServerSet;

/// The servers that a resource has which is to have these groups.
pub(crate) fn server_sets(
    spec: &ShardedKvSpec,
    groups: impl IntoIterator<Item = GroupId>,
) -> BTreeSet<ServerSet> {
    groups.into_iter().map(|group| set_of(spec, group)).collect()
}

/// The servers among which those of a group are.
pub(crate) fn set_of(spec: &ShardedKvSpec, group: GroupId) -> ServerSet {
    if spec.ring().is_some() { ServerSet::Ring } else { ServerSet::Group(group) }
}

/// How many servers the specification asks for.
pub(crate) fn servers(spec: &ShardedKvSpec, set: ServerSet) -> u32 {
    match set {
        ServerSet::Group(_) => spec.replicas,
        ServerSet::Ring => spec.groups,
    }
}

/// The groups that have servers, of those that there are.
pub(crate) fn groups<'a>(
    spec: &ShardedKvSpec,
    sets: impl IntoIterator<Item = &'a ServerSet>,
) -> BTreeSet<GroupId> {
    sets.into_iter().flat_map(|set| groups_of(spec, *set)).collect()
}

fn groups_of(spec: &ShardedKvSpec, set: ServerSet) -> Vec<GroupId> {
    match set {
        ServerSet::Group(group) => vec![group],
        ServerSet::Ring => spec.ring().into_iter().flat_map(Ring::groups).collect(),
    }
}

/// A group that the shard manager knows may have shards, also when nothing is left of its servers:
/// then they are made again.
pub(crate) fn add_founded(
    spec: &ShardedKvSpec,
    map: Option<&ObservedMap>,
    servers: &mut BTreeMap<ServerSet, ObservedServers>,
) {
    // The servers of a ring are the specification's.
    for id in map.into_iter().filter(|_| spec.ring().is_none()).flat_map(|map| map.founded.keys()) {
        servers.entry(ServerSet::Group(*id)).or_default();
    }
}

/// The groups of which one server hosts a replica.
pub(crate) fn hosted_by(spec: &ShardedKvSpec, set: ServerSet, ordinal: u32) -> Vec<GroupId> {
    match set {
        ServerSet::Group(group) => vec![group],
        ServerSet::Ring => spec.ring().into_iter().flat_map(|ring| ring.groups_of(ordinal)).collect(),
    }
}

/// The places of a group's servers among those of its set, of which there are so many.
pub(crate) fn places(spec: &ShardedKvSpec, group: GroupId, servers: u32) -> Vec<u32> {
    match spec.ring() {
        Some(ring) => ring.servers_of(group).collect(),
        None => (0..servers).collect(),
    }
}

/// How many servers a group has, and how many of them are ready.
pub(crate) fn replicas(spec: &ShardedKvSpec, group: GroupId, servers: &ObservedServers) -> (u32, u32) {
    let places = places(spec, group, servers.replicas());
    let pod = |place| servers.pods.get(place);
    let ready = places.iter().filter_map(pod).filter(|pod| pod.is_ready()).count();
    (places.len() as u32, ready as u32)
}
