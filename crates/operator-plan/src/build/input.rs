//! The input of the builders.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use skv_resource::Retention;

use crate::gitops;
use crate::names::{Labels, ServerSet};
use crate::placement;
use crate::resolved::Resolved;

/// Everything from which the objects are built.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The resource in its intended form.
    pub resolved: Resolved,
    /// The resource itself, as the owner of objects that are deleted with it.
    pub owner: OwnerReference,
    /// The servers that exist, where a change of them takes more than applying it.
    pub existing: BTreeMap<ServerSet, ExistingServers>,
    /// The domain of the cluster's Services, such as `cluster.local`.
    pub cluster_domain: String,
    /// The namespace of the operator, which must reach the pods.
    pub operator_namespace: String,
    /// The users that pods run as, unless the specification says.
    pub users: Users,
}

/// The users that pods run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// The user of the image, to whom volumes are given.
    OfTheImage,
    /// Those that the platform assigns to the namespace, as OpenShift does. It refuses all others.
    OfThePlatform,
}

impl Users {
    /// Returns the users in a cluster that serves these groups of resources.
    pub fn of<'a>(mut groups: impl Iterator<Item = &'a str>) -> Users {
        if groups.any(|group| group == "security.openshift.io") {
            Users::OfThePlatform
        } else {
            Users::OfTheImage
        }
    }
}

/// The properties of a StatefulSet of servers that the specification doesn't decide alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingServers {
    /// The number of its pods: in a group as many as it has members, or will have.
    pub replicas: u32,
    /// The size of its claims, which a StatefulSet can't change.
    pub storage_size: Option<String>,
    /// True if the StatefulSet is about to be made again: no claim may be deleted with it.
    pub keep_claims: bool,
    /// True if the group has ended: its servers stop, and nothing of it is made again.
    pub retired: bool,
}

impl Input {
    /// Returns the servers that are wanted, and those that exist: building without a server never removes
    /// it.
    pub(super) fn server_sets(&self) -> impl Iterator<Item = ServerSet> + '_ {
        let beyond = self.existing.keys().filter(|set| !self.resolved.sets.contains(set));
        self.resolved.sets.iter().chain(beyond).copied()
    }

    pub(super) fn is_retired(&self, set: ServerSet) -> bool {
        self.existing.get(&set).is_some_and(|existing| existing.retired)
    }

    /// Returns the number of pods.
    pub(super) fn replicas(&self, set: ServerSet) -> u32 {
        match self.existing.get(&set) {
            Some(existing) if existing.retired => 0,
            Some(existing) => existing.replicas,
            None => placement::servers(&self.resolved.spec, set),
        }
    }

    pub(super) fn storage_size(&self, set: ServerSet) -> String {
        let existing = self.existing.get(&set).and_then(|existing| existing.storage_size.clone());
        existing.unwrap_or_else(|| self.resolved.spec.storage.size.to_string())
    }

    pub(super) fn when_deleted(&self, set: ServerSet) -> Retention {
        let keep = self.existing.get(&set).is_some_and(|existing| existing.keep_claims);
        match keep {
            // The StatefulSet ends because there are fewer groups, while the resource stays.
            _ if self.is_retired(set) => self.resolved.spec.storage.when_scaled,
            true => Retention::Retain,
            false => self.resolved.spec.storage.when_deleted,
        }
    }

    /// Returns the address of the shard managers.
    pub(super) fn manager_address(&self) -> String {
        self.resolved.names.manager_address(&self.cluster_domain, self.resolved.spec.ports.manager)
    }

    /// Returns the metadata of an object that is deleted with the resource.
    pub(super) fn owned(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta { owner_references: Some(vec![self.owner.clone()]), ..self.metadata(name, labels) }
    }

    /// Returns the metadata of an object that outlives the resource.
    pub(super) fn kept(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta { annotations: Some(gitops::missing(&Labels::new())), ..self.metadata(name, labels) }
    }

    pub(super) fn metadata(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.resolved.names.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        }
    }
}
