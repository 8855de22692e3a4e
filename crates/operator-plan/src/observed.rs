//! The state of one resource as it was observed: by watches or a live read, and by its shard manager.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skv_proto::v1;
use skv_resource::{CommandLine, PodTemplate, Retention, ShardedKvSpec};
use skv_sharding::{ClusterId, GroupId};
use skv_turnover::{Assignment, Group, Servers};

use crate::claims::{Claim, VolumeGrowth};
use crate::gitops;
use crate::names::{
    self, Labels, RESTART_HASH_ANNOTATION, RESTARTED_ANNOTATION, RETIRED_ANNOTATION, SERVER, ServerSet,
};
use crate::pods::{self, ServerPod};

/// Everything that was observed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The servers of each StatefulSet that exists, or of which there are pods; and those of groups that
    /// the shard manager knows, once it was asked.
    pub servers: BTreeMap<ServerSet, ObservedServers>,
    /// The number of pods of the shard manager that are ready.
    pub ready_managers: u32,
    /// True if all pods of the shard manager are as the specification says, and ready.
    pub managers_rolled_out: bool,
    /// The number of replicas of each group that the shard manager wants, by its Deployment.
    pub wanted_replicas: Option<u32>,
    /// The claims that lack annotations, with those annotations; claims of groups that have ended are
    /// among them.
    pub to_annotate: BTreeMap<String, Labels>,
    /// True if there are pods of the shard manager, and none has been ready, or has answered, for long.
    pub managers_away: bool,
    /// The reasons why pods don't start, each with the pod's name.
    pub problems: Vec<String>,
    /// The reasons why pods can't be made.
    pub forbidden: Vec<String>,
    /// The reasons why replicas can't go on, in the words of their servers.
    pub refusals: Vec<String>,
    /// The volumes that were asked to grow.
    pub growth: VolumeGrowth,
    /// The image that the store's objects have, which pods that are made get.
    pub image: Option<String>,
    /// The nodes that are about to be emptied; `None` as long as they aren't known.
    pub cordoned: Option<BTreeSet<String>>,
    /// The zones of the servers' nodes, where these are known and the cluster has several.
    pub zones: BTreeMap<String, String>,
    /// The images that servers run.
    pub images: BTreeSet<String>,
    /// The shard map; `None` if the shard manager can't be asked.
    pub map: Option<ObservedMap>,
    /// True if the store has no configuration yet, as far as is known.
    pub is_new: bool,
}

/// The objects of servers that one StatefulSet runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedServers {
    /// The StatefulSet; `None` while that is made, for the first time or again.
    pub set: Option<ObservedSet>,
    /// The pods, by their ordinal.
    pub pods: BTreeMap<u32, ServerPod>,
    /// The claims.
    pub claims: Vec<Claim>,
}

/// A StatefulSet of servers.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedSet {
    /// The StatefulSet's uid, which tells it from others of its name.
    pub uid: String,
    /// The resource version at which the StatefulSet was observed.
    pub resource_version: String,
    /// The number of its pods.
    pub replicas: u32,
    /// The number of pods that its controller has made, once that has said so.
    pub made: Option<u32>,
    /// The size of the claims that it makes.
    pub storage_size: Option<String>,
    /// True if its claims stay when it is deleted.
    pub keeps_claims: bool,
    /// The restart hash of its new pods.
    pub restart_hash: String,
    /// True if its controller has seen all changes.
    pub is_current: bool,
    /// True if it is being deleted.
    pub leaving: bool,
    /// True if the group of these servers has ended.
    pub retired: bool,
}

/// The shard map, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedMap {
    /// The cluster's identity.
    pub cluster: ClusterId,
    /// The number of the map's configuration.
    pub configuration: u64,
    /// The server that leads each group, where it is known.
    pub leaders: BTreeMap<GroupId, String>,
    /// The groups that refuse writes, since disks are full.
    pub disk_full: BTreeSet<GroupId>,
    /// The groups that refuse what makes their data grow, for want of memory.
    pub memory_full: BTreeSet<GroupId>,
    /// The groups, with the shards that they have and should have.
    pub assignment: Assignment,
}

/// Objects as they come from a watch or from a live read.
#[derive(Debug, Default)]
pub struct Objects {
    /// The StatefulSets of servers.
    pub sets: Vec<StatefulSet>,
    /// The Deployment of the shard manager.
    pub deployments: Vec<Deployment>,
    /// The pods of both.
    pub pods: Vec<Pod>,
    /// The claims of servers, also those of groups that have ended.
    pub claims: Vec<PersistentVolumeClaim>,
}

/// Returns the state that these objects show.
pub fn observe(objects: &Objects, now: Timestamp) -> Observed {
    let mut observed = Observed::default();
    let mut restarts = BTreeMap::new();
    for set in &objects.sets {
        if let Some(servers) = ServerSet::of(set.labels()) {
            observed.servers_of(servers).set = Some(ObservedSet::from(set));
            let template = set.spec.as_ref().map(|spec| &spec.template);
            observed.image = observed.image.or_else(|| image(template?, SERVER));
            restarts.extend(annotation(set, RESTARTED_ANNOTATION).map(|asked| (servers, asked)));
        }
    }
    observed.managers_rolled_out = !objects.deployments.is_empty();
    for deployment in &objects.deployments {
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        observed.ready_managers += status.ready_replicas.unwrap_or_default().unsigned_abs();
        observed.managers_rolled_out &= status.observed_generation == deployment.metadata.generation
            && [status.updated_replicas, status.ready_replicas, status.replicas] == [Some(wanted); 3];
        observed.forbidden.extend(forbidden(deployment));
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        observed.wanted_replicas = template.and_then(wanted_replicas);
        observed.image = observed.image.or_else(|| image(template?, PodTemplate::SHARD_MANAGER));
    }
    let mut managers = objects.pods.iter().filter(|pod| ServerSet::of(pod.labels()).is_none()).peekable();
    observed.managers_away = managers.peek().is_some() && managers.all(|pod| pods::is_long_unready(pod, now));
    for pod in &objects.pods {
        if let Some(problem) = pods::problem(pod, now) {
            observed.problems.push(format!("{}: {problem}", pod.name_any()));
        }
        let Some((set, mut server)) = ServerPod::parse(pod, now) else { continue };
        let asked = restarts.get(&set);
        if asked.is_some_and(|asked| pod.annotations().get(RESTARTED_ANNOTATION) != Some(asked)) {
            // It is as if the pod had been made for other settings.
            server.restart_hash.clear();
        }
        observed.servers_of(set).pods.insert(server.ordinal, server);
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let server = containers.filter(|container| container.name == SERVER);
        observed.images.extend(server.filter_map(|container| container.image.clone()));
    }
    for claim in objects.claims.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
        let missing = gitops::missing(claim.annotations());
        if ServerSet::of(claim.labels()).is_some() && !missing.is_empty() {
            observed.to_annotate.insert(claim.name_any(), missing);
        }
    }
    let of_servers = |claim: &&PersistentVolumeClaim| {
        ServerSet::of(claim.labels()).is_some_and(|set| observed.servers.contains_key(&set))
    };
    observed.growth = VolumeGrowth::of(objects.claims.iter().filter(of_servers));
    for (set, claim) in objects.claims.iter().filter_map(Claim::parse) {
        // Claims that were kept when their group ended make no group.
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

    /// Returns the same with the shard manager's answer. A group that it knows may have shards, also when
    /// its servers no longer exist: then they are made again.
    #[must_use]
    pub fn with_map(self, spec: &ShardedKvSpec, map: Option<ObservedMap>) -> Observed {
        let servers = self.servers.clone();
        Observed { map, ..self }.with_servers(spec, servers)
    }

    /// Returns the same with these servers, and those of groups that the shard manager knows.
    #[must_use]
    pub fn with_servers(
        self,
        spec: &ShardedKvSpec,
        mut servers: BTreeMap<ServerSet, ObservedServers>,
    ) -> Observed {
        // The servers of a ring follow from the specification.
        for id in
            self.assignment().filter(|_| spec.ring().is_none()).into_iter().flat_map(|a| a.founded.keys())
        {
            servers.entry(ServerSet::Group(*id)).or_default();
        }
        Observed { servers, ..self }
    }

    /// Returns the assignment of shards; `None` if the shard manager can't be asked.
    pub fn assignment(&self) -> Option<&Assignment> {
        self.map.as_ref().map(|map| &map.assignment)
    }

    /// Returns the nodes of all servers.
    pub fn nodes(&self) -> impl Iterator<Item = &String> {
        let pods = self.servers.values().flat_map(|servers| servers.pods.values());
        pods.filter_map(|pod| pod.node.as_ref())
    }

    /// Returns the groups that have servers of their own.
    pub fn groups(&self) -> BTreeMap<GroupId, &ObservedServers> {
        self.servers.iter().filter_map(|(set, servers)| Some((set.group()?, servers))).collect()
    }

    /// Returns the groups as objects alone show them.
    pub fn known_groups(&self) -> BTreeMap<GroupId, Group> {
        let known = |servers: &ObservedServers| Group { servers: servers.state(), ..Group::default() };
        self.groups().into_iter().map(|(id, servers)| (id, known(servers))).collect()
    }
}

impl ObservedMap {
    /// Takes the map from a shard manager's answers: its map, and its newest configuration.
    pub fn of(map: &v1::ShardMap, newest: &v1::Configuration) -> ObservedMap {
        let leader = |group: &v1::Group| {
            let leader = group.replicas.iter().find(|replica| replica.id == group.leader)?;
            Some((GroupId(group.id), leader.server.clone()))
        };
        let those = |is_full: fn(&v1::Group) -> bool| {
            map.groups.iter().filter(|group| is_full(group)).map(|group| GroupId(group.id)).collect()
        };
        ObservedMap {
            disk_full: those(|group| group.disk_full),
            memory_full: those(|group| group.memory_full),
            cluster: ClusterId(map.cluster_id),
            configuration: map.configuration,
            leaders: map.groups.iter().filter_map(leader).collect(),
            assignment: Assignment::of(map, newest),
        }
    }
}

impl ObservedServers {
    /// Returns the number of pods that are ready.
    pub fn ready(&self) -> u32 {
        self.pods.values().filter(|pod| pod.is_ready()).count() as u32
    }

    /// Returns true if none of their objects exists.
    pub fn is_missing(&self) -> bool {
        self.set.is_none() && self.pods.is_empty()
    }

    /// Returns true if they were ordered to stop: their group has ended.
    pub fn retired(&self) -> bool {
        self.set.as_ref().is_some_and(|set| set.retired)
    }

    /// Returns true if fewer pods were made than there should be.
    pub fn lacks_pods(&self) -> bool {
        self.set
            .as_ref()
            .is_some_and(|set| set.is_current && set.made.is_some_and(|made| made < set.replicas))
    }

    /// Returns their state, for the rules by which groups come and go.
    pub fn state(&self) -> Servers {
        match self.retired() {
            true => Servers::Stopping,
            false if self.is_missing() => Servers::Missing,
            false => Servers::There,
        }
    }

    /// Returns the pod of a server.
    pub fn pod(&self, server: &str) -> Option<&ServerPod> {
        self.pods.values().find(|pod| pod.name == server)
    }

    /// Returns the claim of a server.
    pub fn claim(&self, server: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.is_of(server))
    }

    /// Returns the number of servers. While the StatefulSet is made again, it follows from their pods and volumes:
    /// a pod that goes in that time, with its node for example, isn't made again, and may be a voter's.
    pub fn replicas(&self) -> u32 {
        self.set.as_ref().map_or_else(|| self.remaining(), |set| set.replicas)
    }

    fn remaining(&self) -> u32 {
        // A copy that somebody made of a claim has its labels too: the number at its end may be a date.
        let servers = self.pods.values().find_map(|pod| names::set_name(&pod.name));
        let of_server = |claim: &Claim| {
            let ordinal = names::ordinal(&claim.name)?;
            claim.is_of(&format!("{}-{ordinal}", servers?)).then_some(ordinal)
        };
        let volumes = self.claims.iter().filter(|claim| !claim.leaving).filter_map(of_server);
        self.pods.keys().copied().chain(volumes).max().map_or(1, |last| last + 1)
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
            made: set.status.as_ref().map(|status| status.replicas.unsigned_abs()),
            storage_size: size.map(|size| size.0.clone()),
            // Without a policy Kubernetes keeps claims.
            keeps_claims: policy.is_none_or(|policy| policy == Retention::Retain.name()),
            restart_hash: annotation(set, RESTART_HASH_ANNOTATION).unwrap_or_default(),
            is_current: observed == set.metadata.generation,
            leaving: set.metadata.deletion_timestamp.is_some(),
            retired: set.annotations().contains_key(RETIRED_ANNOTATION),
        }
    }
}

/// Returns the reason why a Deployment's pods can't be made.
fn forbidden(deployment: &Deployment) -> Option<String> {
    let mut conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failure = conditions.find(|condition| {
        condition.type_ == "ReplicaFailure"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("FailedCreate")
    })?;
    Some(format!("{}: {}", deployment.name_any(), failure.message.as_deref().unwrap_or("no pod can be made")))
}

/// Returns the image of a container of the pods that are made.
fn image(template: &PodTemplateSpec, name: &str) -> Option<String> {
    container(template, name)?.image.clone()
}

/// Returns the number of replicas of each group that shard managers want which are made from this template.
fn wanted_replicas(template: &PodTemplateSpec) -> Option<u32> {
    let arguments = container(template, PodTemplate::SHARD_MANAGER)?.args.as_ref()?;
    CommandLine::value_of("--replicas", arguments)?.parse().ok()
}

fn container<'a>(template: &'a PodTemplateSpec, name: &str) -> Option<&'a Container> {
    template.spec.as_ref()?.containers.iter().find(|container| container.name == name)
}

/// Returns an annotation that the pods of a StatefulSet get.
fn annotation(set: &StatefulSet, name: &str) -> Option<String> {
    set.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref()?.get(name).cloned()
}

#[cfg(test)]
mod tests;
