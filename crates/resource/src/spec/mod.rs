//! The specification of a `ShardedKV`. The documentation of each field becomes its description in the
//! schema; each file holds one block of fields.

mod client_service;
mod image;
pub(crate) mod limits;
mod network;
pub(crate) mod placement;
mod pod_template;
mod pods;
mod ports;
mod replacement;
mod scheduling;
mod server;
mod shard_manager;
mod size;
mod storage;
mod tuning;

use k8s_openapi::api::core::v1::PodSecurityContext;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skv_sharding::{Hash, Policy, Ring};

use crate::status::ShardedKvStatus;

pub use client_service::{ClientService, IpFamily, IpFamilyPolicy, ServiceType, TrafficDistribution};
pub use image::{Image, PullPolicy};
pub use limits::Limits;
pub use network::{DisruptionBudget, NetworkPolicy, NodePorts};
pub use placement::Placement;
pub use pod_template::PodTemplate;
pub use pods::PodMetadata;
pub use ports::Ports;
pub use replacement::Replacement;
pub use scheduling::Scheduling;
pub use server::{LogFormat, Server};
pub use shard_manager::ShardManager;
pub use size::{ParseSizeError, Size};
pub use storage::{Retention, Storage};
pub use tuning::{TRANSFER_BYTES_PER_SECOND, Tuning};

/// The desired state of a `ShardedKV`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "shardedkv.io",
    version = "v1alpha1",
    kind = "ShardedKV",
    root = "ShardedKv",
    plural = "shardedkvs",
    singular = "shardedkv",
    shortname = "skv",
    category = "all",
    namespaced,
    doc = "A sharded, replicated, linearizable key/value store.",
    status = "ShardedKvStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.groups",
        status_replicas_path = ".status.groupCount",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Groups", type_ = "integer", json_path = ".spec.groups"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "True if everything is as the specification says, and healthy"
    ),
    printcolumn(
        name = "Servers",
        type_ = "string",
        json_path = ".status.ready",
        description = "The servers that are ready, of all"
    ),
    printcolumn(
        name = "Shards",
        type_ = "string",
        json_path = ".status.shards",
        description = "The shards that a group owns, of all"
    ),
    printcolumn(
        name = "Moving",
        type_ = "integer",
        json_path = ".status.moving",
        description = "The shards that aren't yet where the newest configuration wants them"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "The version of the image that the servers run"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.summary",
        description = "The first thing that a person should know",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$')").message(
        "the name must consist of at most 40 lower case letters, digits and '-', begin with a letter and not end with '-'"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.groups <= self.shards", "message": "each group needs at least one shard", "fieldPath": ".groups" },
        { "rule": "self.policy != 'modulo' || self.shards % self.groups == 0", "message": "policy modulo needs a number of groups that divides the number of shards", "fieldPath": ".groups" },
        { "rule": "!has(self.nodePorts) || self.nodePorts.first + self.groups <= 32767", "message": "each group needs a port of its own up to 32767: begin lower", "fieldPath": ".nodePorts.first" },
        { "rule": "self.placement == 'ring' || self.replicas <= 7", "message": "a group that has servers of its own has at most 7 replicas", "fieldPath": ".replicas" },
        { "rule": "self.placement == 'ring' || self.replicas % 2 == 1", "message": "an even number tolerates no more failures than one less: choose an odd number", "fieldPath": ".replicas" },
        { "rule": "self.placement != 'ring' || self.groups == self.shards", "message": "a ring has one group for each shard, and a server for each group: their number is that of shards, which is fixed", "fieldPath": ".groups" },
        { "rule": "self.placement != 'ring' || self.replicas <= self.groups", "message": "a ring has no more replicas of a group than servers, of which there are as many as groups", "fieldPath": ".replicas" },
        { "rule": "self.placement != 'ring' || self.replicas == oldSelf.replicas", "message": "is fixed for the life of a ring", "fieldPath": ".replicas" }
    ]))]
pub struct ShardedKvSpec {
    /// The number of Raft groups that share the shards. `kubectl scale` changes it. In a
    /// ring it is also the number of servers and of shards, and is fixed.
    #[schemars(range(min = 1, max = 4096))]
    pub groups: u32,
    /// The number of replicas of each group: 1, 3, 5 or 7, since an even number would tolerate no
    /// more failures than one less. In a ring it is any number up to that of servers, and is fixed.
    #[schemars(range(min = 1, max = 4096))]
    pub replicas: u32,
    /// The number of shards that the keys are hashed to. Fixed for the life of the
    /// resource; 240 divides evenly by 1 to 6, 8, 10 and 12 groups.
    #[schemars(range(min = 1, max = 10000))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self == oldSelf", "message": "is fixed for the life of the resource" }
    ]))]
    pub shards: u32,
    /// The function that maps a key to a shard: fnv1, fnv1a, integer (decimal keys, key mod shards)
    /// or integer-or-fnv1 (whichever fits the key). Fixed for the life of the resource.
    #[schemars(schema_with = "hash_schema")]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self == oldSelf", "message": "is fixed for the life of the resource" }
    ]))]
    pub hash: Hash,
    /// The policy that spreads shards over groups: minimal (as even as can be, by the
    /// fewest moves), or modulo (shard i in the (i mod groups)th group; the number of
    /// groups must divide that of shards). Fixed for the life of the resource.
    #[schemars(schema_with = "policy_schema")]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self == oldSelf", "message": "is fixed for the life of the resource" }
    ]))]
    pub policy: Policy,
    /// The placement of a group's replicas on servers: `groups` (each group has servers of
    /// its own), or `ring` (all groups share one ring of servers: as many groups as shards
    /// and as servers, the replicas of group i on servers i to i + replicas - 1, counted
    /// around the ring). Fixed for the life of the resource.
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self == oldSelf", "message": "is fixed for the life of the resource" }
    ]))]
    pub placement: Placement,
    /// The image that the pods run. Outside of a cluster it has no meaning.
    pub image: Image,
    /// The settings of each server.
    pub server: Server,
    /// The settings of the shard manager.
    pub shard_manager: ShardManager,
    /// The storage of each server's data.
    pub storage: Storage,
    /// The nodes on which the pods run. A change takes effect when a pod is next made; it
    /// restarts nothing. Outside of a cluster it has no meaning.
    pub scheduling: Scheduling,
    /// Labels and annotations for all pods. Outside of a cluster they have no meaning.
    pub pod_metadata: PodMetadata,
    /// More of all pods, merged into them as `kubectl patch` does, such as sidecars, volumes, environment
    /// variables, a service account, a runtime class or DNS settings. An entry of `spec.containers` with the
    /// name kvserver or shardmanager changes the container of that program. What has a field of its own
    /// here, or isn't free, is refused with the reason. A change restarts the servers, one after the other.
    /// Outside of a cluster it has no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// The user and groups of all pods, and what else a pod's securityContext has. By default user and
    /// groups are 65532, or on OpenShift those that it assigns to the namespace; `{}` leaves them to the
    /// platform everywhere. That no pod runs as root holds in any case. Outside of a cluster it has no
    /// meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,
    /// The Service under which clients find any server. Outside of a cluster it has no meaning.
    pub service: ClientService,
    /// The ports of pods and Services. Outside of a cluster they are chosen freely.
    pub ports: Ports,
    /// Ports of every node, under which the store is reached from outside of the cluster; none
    /// without it. The network policy must let such clients in. Outside of a cluster it has no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_ports: Option<NodePorts>,
    /// The limits of clients' requests. Fixed for the life of the resource.
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self == oldSelf", "message": "are fixed for the life of the resource" }
    ]))]
    pub limits: Limits,
    /// Times and sizes that trade one good thing for another.
    pub tuning: Tuning,
    /// A budget per group: evictions, such as those of `kubectl drain`, wait until the group can spare a pod.
    pub disruption_budget: DisruptionBudget,
    /// The replacement of replicas whose node or volume is gone for good. Outside of a cluster it has no
    /// meaning.
    pub replacement: Replacement,
    /// The network policy of the pods, which limits connections to them.
    pub network_policy: NetworkPolicy,
    /// Stop the operator from changing anything; what runs goes on. The status is still kept.
    pub paused: bool,
}

impl ShardedKvSpec {
    /// Returns the ring that the groups share, if they do. A valid specification with that placement has
    /// one.
    pub fn ring(&self) -> Option<Ring> {
        match self.placement {
            Placement::Groups => None,
            Placement::Ring => Ring::new(self.groups, self.replicas).ok(),
        }
    }
}

impl Default for ShardedKvSpec {
    fn default() -> Self {
        ShardedKvSpec {
            groups: 2,
            replicas: 3,
            shards: 240,
            hash: Hash::default(),
            policy: Policy::default(),
            placement: Placement::default(),
            image: Image::default(),
            server: Server::default(),
            shard_manager: ShardManager::default(),
            storage: Storage::default(),
            scheduling: Scheduling::default(),
            pod_metadata: PodMetadata::default(),
            pod_template: None,
            pod_security_context: None,
            service: ClientService::default(),
            ports: Ports::default(),
            node_ports: None,
            limits: Limits::default(),
            tuning: Tuning::default(),
            disruption_budget: DisruptionBudget::default(),
            replacement: Replacement::default(),
            network_policy: NetworkPolicy::default(),
            paused: false,
        }
    }
}

fn hash_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["fnv1", "fnv1a", "integer", "integer-or-fnv1"] })
}

fn policy_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["minimal", "modulo"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_every_policy() {
        for policy in [Policy::Minimal, Policy::Modulo] {
            let schema = policy_schema(&mut schemars::SchemaGenerator::default()).to_value();
            let name = serde_json::to_value(policy).unwrap();
            assert!(schema["enum"].as_array().unwrap().contains(&name), "{name}");
        }
    }

    #[test]
    fn the_schema_names_every_hash() {
        for hash in Hash::ALL {
            let schema = hash_schema(&mut schemars::SchemaGenerator::default()).to_value();
            let name = serde_json::to_value(hash).unwrap();
            assert!(schema["enum"].as_array().unwrap().contains(&name), "{name}");
        }
    }
}
