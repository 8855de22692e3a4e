//! From a resource to the objects that it consists of: pure, one file per object.
//!
//! What is built from the same [`Input`] is always the same. Nothing here asks anybody; what
//! must be known of the cluster was gathered before, in [`crate::dereference`].

mod client_service;
mod disruption_budget;
mod headless_service;
mod manager_deployment;
mod manager_service;
mod network_policy;
mod node_ports;
mod pod;
mod rbac;
mod restart;
mod service_accounts;
mod shard_map;
mod statefulset;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;
use skv_resource::{Retention, ShardedKvSpec};

use crate::gitops;
use crate::names::{Labels, Names, ServerSet};
use crate::placement;
pub(crate) use restart::restart_hash;

/// Everything that decides what is built.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The names of everything.
    pub(crate) names: Names,
    /// What the resource asks for; valid.
    pub(crate) spec: ShardedKvSpec,
    /// The resource itself: what is deleted with it.
    pub(crate) owner: OwnerReference,
    /// The servers that are to be.
    pub(crate) wanted: BTreeSet<ServerSet>,
    /// The servers that exist, as far as a change of them takes more than applying it.
    pub(crate) existing: BTreeMap<ServerSet, ExistingServers>,
    /// The domain of the cluster's Services, such as `cluster.local`.
    pub(crate) cluster_domain: String,
    /// The namespace of the operator, which must reach the pods.
    pub(crate) operator_namespace: String,
}

/// What a StatefulSet of servers has that the specification doesn't decide alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExistingServers {
    /// The number of its pods: in a group as many as it has members, or is to get.
    pub(crate) replicas: u32,
    /// The size of its claims, which a StatefulSet can't change.
    pub(crate) storage_size: Option<String>,
    /// The StatefulSet is about to be made anew: no claim may go with it.
    pub(crate) keep_claims: bool,
    /// The group is no more: its servers stop, and nothing of it is made again.
    pub(crate) retired: bool,
}

/// One object as it shall be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Desired {
    /// Its kind.
    pub(crate) resource: ApiResource,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// All of it.
    pub(crate) content: Value,
}

/// All objects of a resource, in the order in which they are needed.
pub(crate) fn build(input: &Input) -> Result<Vec<Desired>, serde_json::Error> {
    let mut objects = vec![
        Desired::new(&shard_map::shard_map(input))?,
        Desired::new(&service_accounts::servers(input))?,
        Desired::new(&service_accounts::shard_manager(input))?,
        Desired::new(&rbac::role(input))?,
        Desired::new(&rbac::role_binding(input))?,
        Desired::new(&manager_service::manager_service(input))?,
        Desired::new(&client_service::client_service(input))?,
    ];
    if input.spec.network_policy.enabled {
        objects.push(Desired::new(&network_policy::network_policy(input))?);
    }
    if let Some(service) = node_ports::of_shard_manager(input) {
        objects.push(Desired::new(&service)?);
    }
    objects.push(Desired::new(&manager_deployment::manager_deployment(input))?);
    let restart_hash = restart_hash(&input.spec)?;
    for set in input.server_sets() {
        if !input.is_retired(set) {
            objects.push(Desired::new(&headless_service::headless_service(input, set))?);
            for service in node_ports::of_groups(input, set) {
                objects.push(Desired::new(&service)?);
            }
        }
        if let Some(budget) = disruption_budget::disruption_budget(input, set) {
            objects.push(Desired::new(&budget)?);
        }
        objects.push(Desired::new(&statefulset::statefulset(input, set, &restart_hash))?);
    }
    Ok(objects)
}

impl Input {
    /// The servers that are wanted, and those that exist: none is ever taken away by building
    /// without it.
    pub(crate) fn server_sets(&self) -> impl Iterator<Item = ServerSet> + '_ {
        let beyond = self.existing.keys().filter(|set| !self.wanted.contains(set));
        self.wanted.iter().chain(beyond).copied()
    }

    fn is_retired(&self, set: ServerSet) -> bool {
        self.existing.get(&set).is_some_and(|existing| existing.retired)
    }

    /// The number of pods.
    fn replicas(&self, set: ServerSet) -> u32 {
        match self.existing.get(&set) {
            Some(existing) if existing.retired => 0,
            Some(existing) => existing.replicas,
            None => placement::servers(&self.spec, set),
        }
    }

    fn storage_size(&self, set: ServerSet) -> String {
        let existing = self.existing.get(&set).and_then(|existing| existing.storage_size.clone());
        existing.unwrap_or_else(|| self.spec.storage.size.to_string())
    }

    fn when_deleted(&self, set: ServerSet) -> Retention {
        let keep = self.existing.get(&set).is_some_and(|existing| existing.keep_claims);
        match keep {
            // It goes because there are fewer groups, while the resource stays.
            _ if self.is_retired(set) => self.spec.storage.when_scaled,
            true => Retention::Retain,
            false => self.spec.storage.when_deleted,
        }
    }

    /// Where the shard managers are found.
    fn manager_address(&self) -> String {
        self.names.manager_address(&self.cluster_domain, self.spec.ports.manager)
    }

    /// Metadata of an object that is deleted with the resource.
    fn owned(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta { owner_references: Some(vec![self.owner.clone()]), ..self.metadata(name, labels) }
    }

    /// Metadata of an object that outlives the resource.
    fn kept(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta { annotations: Some(gitops::missing(&Labels::new())), ..self.metadata(name, labels) }
    }

    fn metadata(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.names.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        }
    }
}

impl Desired {
    fn new<K>(object: &K) -> Result<Desired, serde_json::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
    {
        Ok(Desired {
            resource: ApiResource::erase::<K>(&()),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            content: serde_json::to_value(object)?,
        })
    }

    /// Applying it decides how many pods there are.
    pub(crate) fn counts_pods(&self) -> bool {
        self.resource.kind == "StatefulSet"
    }

    /// For people: the kind and the name.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }
}

#[cfg(test)]
mod tests;
