//! What is known of one resource, gathered from the cache (or from a live read) and from its
//! shard manager.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use skv_resource::Retention;
use skv_sharding::{ClusterId, GroupId, GroupUid};

use crate::cache::Cache;
use crate::claims::Claim;
use crate::gitops;
use crate::names::{Labels, Names, RESTART_HASH_ANNOTATION, RETIRED_ANNOTATION, ServerSet};
use crate::pods::{self, ServerPod};
use crate::servers::Assignment;

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// The servers of each StatefulSet that there is, or of which there are pods; and those of
    /// groups that the shard manager knows, once it was asked.
    pub(crate) servers: BTreeMap<ServerSet, ObservedServers>,
    /// How many pods of the shard manager are ready.
    pub(crate) ready_managers: u32,
    /// All pods of the shard manager are as the specification says, and ready.
    pub(crate) managers_rolled_out: bool,
    /// The claims that lack annotations, and which: also those of groups that are no more.
    pub(crate) to_annotate: BTreeMap<String, Labels>,
    /// Why pods don't start, each with the pod's name.
    pub(crate) problems: Vec<String>,
    /// The images that servers run.
    pub(crate) images: BTreeSet<String>,
    /// What the shard manager says; `None` if it can't be asked.
    pub(crate) map: Option<ObservedMap>,
}

/// The objects of servers that one StatefulSet runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObservedServers {
    /// The StatefulSet; `None` while that is made, or made anew.
    pub(crate) set: Option<ObservedSet>,
    /// The pods, by their place.
    pub(crate) pods: BTreeMap<u32, ServerPod>,
    /// The claims.
    pub(crate) claims: Vec<Claim>,
}

/// A StatefulSet of servers.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObservedSet {
    /// Tells it from others of its name.
    pub(crate) uid: String,
    /// The version of it that was seen.
    pub(crate) resource_version: String,
    /// The number of its pods.
    pub(crate) replicas: u32,
    /// The size of the claims that it makes.
    pub(crate) storage_size: Option<String>,
    /// Its claims stay when it is deleted.
    pub(crate) keeps_claims: bool,
    /// What its new pods are made for.
    pub(crate) restart_hash: String,
    /// Its controller has seen all that was changed.
    pub(crate) is_current: bool,
    /// It is being deleted.
    pub(crate) leaving: bool,
    /// The group whose servers these are is no more.
    pub(crate) retired: bool,
}

/// What the shard map says, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObservedMap {
    pub(crate) cluster: ClusterId,
    pub(crate) configuration: u64,
    /// The groups that share the shards by the newest configuration.
    pub(crate) sharing: BTreeSet<GroupId>,
    /// The groups that people have drained: they stay, without shards.
    pub(crate) drained: BTreeSet<GroupId>,
    /// The groups that are founded.
    pub(crate) founded: BTreeMap<GroupId, GroupUid>,
    /// The server that leads each group, where it is known.
    pub(crate) leaders: BTreeMap<GroupId, String>,
    /// How many shards each group owns.
    pub(crate) shards: BTreeMap<GroupId, u32>,
    /// How many shards aren't yet where the newest configuration wants them.
    pub(crate) moving: u32,
}

/// Objects as they come from a watch or from a live read.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) sets: Vec<StatefulSet>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

/// What the cache has of a resource.
pub(crate) fn dereference(cache: &Cache, names: &Names, now: Timestamp) -> Observed {
    fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(cache: &Cache, names: &Names) -> Vec<K> {
        let parsed = cache.of::<K>(names).into_iter().map(|object| (*object).clone().try_parse::<K>());
        parsed.filter_map(Result::ok).collect()
    }
    let objects = Objects {
        sets: all(cache, names),
        deployments: all(cache, names),
        pods: all(cache, names),
        claims: all(cache, names),
    };
    observe(&objects, now)
}

/// What these objects say.
pub(crate) fn observe(objects: &Objects, now: Timestamp) -> Observed {
    let mut observed = Observed::default();
    for set in &objects.sets {
        if let Some(servers) = ServerSet::of(set.labels()) {
            observed.servers_of(servers).set = Some(ObservedSet::from(set));
        }
    }
    observed.managers_rolled_out = !objects.deployments.is_empty();
    for deployment in &objects.deployments {
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        observed.ready_managers += status.ready_replicas.unwrap_or_default().unsigned_abs();
        observed.managers_rolled_out &= status.observed_generation == deployment.metadata.generation
            && [status.updated_replicas, status.ready_replicas, status.replicas] == [Some(wanted); 3];
    }
    for pod in &objects.pods {
        if let Some(problem) = pods::problem(pod) {
            observed.problems.push(format!("{}: {problem}", pod.name_any()));
        }
        let Some((set, server)) = ServerPod::parse(pod, now) else { continue };
        observed.servers_of(set).pods.insert(server.ordinal, server);
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        observed.images.extend(containers.filter_map(|container| container.image.clone()));
    }
    for claim in objects.claims.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
        let missing = gitops::missing(claim.annotations());
        if ServerSet::of(claim.labels()).is_some() && !missing.is_empty() {
            observed.to_annotate.insert(claim.name_any(), missing);
        }
    }
    for (set, claim) in objects.claims.iter().filter_map(Claim::parse) {
        // Claims that were kept when their group went make no group.
        if let Some(servers) = observed.servers.get_mut(&set) {
            servers.claims.push(claim);
        }
    }
    observed
}

impl Observed {
    fn servers_of(&mut self, set: ServerSet) -> &mut ObservedServers {
        self.servers.entry(set).or_default()
    }

    /// The groups that have servers of their own.
    pub(crate) fn groups(&self) -> BTreeMap<GroupId, ObservedServers> {
        let own = |(set, servers): (&ServerSet, &ObservedServers)| Some((set.group()?, servers.clone()));
        self.servers.iter().filter_map(own).collect()
    }
}

impl ObservedMap {
    /// How many shards a group owns.
    pub(crate) fn shards_of(&self, group: GroupId) -> u32 {
        self.shards.get(&group).copied().unwrap_or(0)
    }
}

impl ObservedServers {
    /// How many of the pods are ready.
    pub(crate) fn ready(&self) -> u32 {
        self.pods.values().filter(|pod| pod.is_ready()).count() as u32
    }

    /// Nothing of them is there.
    pub(crate) fn is_missing(&self) -> bool {
        self.set.is_none() && self.pods.is_empty()
    }

    /// They were told to go: their group is no more.
    pub(crate) fn retired(&self) -> bool {
        self.set.as_ref().is_some_and(|set| set.retired)
    }

    /// A majority of them is ready.
    pub(crate) fn has_quorum_ready(&self) -> bool {
        self.ready() * 2 > self.replicas()
    }

    /// The pod of a server.
    pub(crate) fn pod(&self, server: &str) -> Option<&ServerPod> {
        self.pods.values().find(|pod| pod.name == server)
    }

    /// The claim of a server.
    pub(crate) fn claim(&self, server: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.is_of(server))
    }

    /// The number of servers. While the StatefulSet is made anew, its pods tell.
    pub(crate) fn replicas(&self) -> u32 {
        let by_pods = || self.pods.keys().last().map_or(1, |last| last + 1);
        self.set.as_ref().map_or_else(by_pods, |set| set.replicas)
    }
}

impl From<&StatefulSet> for ObservedSet {
    fn from(set: &StatefulSet) -> ObservedSet {
        let spec = set.spec.as_ref();
        let claim = spec.and_then(|spec| spec.volume_claim_templates.as_ref()?.first()?.spec.as_ref());
        let size = claim.and_then(|claim| claim.resources.as_ref()?.requests.as_ref()?.get("storage"));
        let observed = set.status.as_ref().and_then(|status| status.observed_generation);
        let policy = spec
            .and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref()?.when_deleted.as_deref());
        ObservedSet {
            uid: set.uid().unwrap_or_default(),
            resource_version: set.resource_version().unwrap_or_default(),
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1).unsigned_abs(),
            storage_size: size.map(|size| size.0.clone()),
            // Without a policy Kubernetes keeps them.
            keeps_claims: policy.is_none_or(|policy| policy == Retention::Retain.name()),
            restart_hash: spec.and_then(restart_hash).unwrap_or_default(),
            is_current: observed == set.metadata.generation,
            leaving: set.metadata.deletion_timestamp.is_some(),
            retired: set.annotations().contains_key(RETIRED_ANNOTATION),
        }
    }
}

fn restart_hash(spec: &StatefulSetSpec) -> Option<String> {
    spec.template.metadata.as_ref()?.annotations.as_ref()?.get(RESTART_HASH_ANNOTATION).cloned()
}

impl From<&Assignment> for ObservedMap {
    fn from(Assignment { map, configuration }: &Assignment) -> ObservedMap {
        let mut observed = ObservedMap {
            cluster: ClusterId(map.cluster_id),
            configuration: map.configuration,
            sharing: configuration.groups.iter().copied().map(GroupId).collect(),
            drained: map.groups.iter().filter(|group| group.drained).map(|group| GroupId(group.id)).collect(),
            founded: map.groups.iter().map(|group| (GroupId(group.id), GroupUid(group.uid))).collect(),
            ..ObservedMap::default()
        };
        for group in &map.groups {
            if let Some(leader) = group.replicas.iter().find(|replica| replica.id == group.leader) {
                observed.leaders.insert(GroupId(group.id), leader.server.clone());
            }
        }
        for range in &map.ranges {
            *observed.shards.entry(GroupId(range.group)).or_default() += range.count;
        }
        let planned = skv_proto::owners(&configuration.ranges);
        let current = skv_proto::owners(&map.ranges);
        let elsewhere = current.iter().filter(|(shard, group)| planned.get(shard) != Some(group)).count();
        // The configuration may be newer than the map, and a shard that stays after all may still go.
        observed.moving = map.moving.max(elsewhere as u32);
        observed
    }
}

#[cfg(test)]
mod tests {
    use skv_proto::v1;

    use super::*;

    fn ranges(groups: &[u32]) -> Vec<v1::ShardRange> {
        let range = |(first, group): (u32, &u32)| v1::ShardRange { first, count: 1, group: *group, epoch: 1 };
        (0..).zip(groups).map(range).collect()
    }

    #[test]
    fn shards_move_until_they_are_where_the_configuration_wants_them() {
        let mut assignment = Assignment::default();
        assignment.map.ranges = ranges(&[0, 0, 1, 1]);
        assignment.configuration.ranges = ranges(&[0, 1, 1, 2]);
        let observed = ObservedMap::from(&assignment);
        assert_eq!((observed.moving, observed.shards[&GroupId(0)]), (2, 2));
        assignment.configuration.ranges = ranges(&[0, 0, 1, 1]);
        assert_eq!(ObservedMap::from(&assignment).moving, 0);
        assignment.map.moving = 1;
        assert_eq!(ObservedMap::from(&assignment).moving, 1, "one may still go");
    }
}
