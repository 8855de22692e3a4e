//! The operator's report on a `ShardedKV`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use skv_sharding::{Hash, Policy};

use crate::shard_map::any_object;
use crate::spec::limits::Limits;
use crate::spec::placement::Placement;

/// The observed state of a `ShardedKV`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
// Until the operator has written a status, programs that wait see that no generation was observed.
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct ShardedKvStatus {
    /// The generation of the resource that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Valid, Available, Progressing, Degraded and Spread for people; Ready, Reconciling and Stalled for
    /// programs.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// A line for people about the resource's problems and the work under way.
    pub summary: String,
    /// The number of groups.
    pub group_count: u32,
    /// The labels of all servers.
    pub selector: String,
    /// The number of servers that are ready, and of all, such as 6/6.
    pub ready: String,
    /// The number of shards that a group owns, and of all, such as 240/240.
    pub shards: String,
    /// The number of shards that aren't yet where the newest configuration wants them.
    pub moving: u32,
    /// The versions of the image that the servers run.
    pub version: String,
    /// The identity of the cluster; it has one from its first configuration on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The number of the newest configuration.
    pub configuration: u64,
    /// Each group.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub groups: Vec<GroupStatus>,
    /// The pod that the operator is replacing. Until its successor has caught up, no other is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacing: Option<Replacing>,
    /// The servers whose replica is gone for good, and isn't replaced yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["server"]))]
    pub lost: Vec<LostServer>,
    /// The servers whose replica was gone for good and was replaced, within an hour before the
    /// last of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<ReplacedServer>,
    /// The evictions, by drains that are expected, that have to wait for another server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["server"]))]
    pub held_evictions: Vec<HeldEviction>,
    /// The fields that are fixed for the life of the resource, as it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub founded: Option<Founded>,
    /// The last valid specification. The operator goes by it while the resource's own isn't valid, or can't
    /// be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub accepted: Option<Value>,
}

/// The fields that are fixed for the life of a resource, as it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Founded {
    /// The number of shards.
    pub shards: u32,
    /// The function that maps keys to shards.
    #[schemars(with = "String")]
    pub hash: Hash,
    /// The policy that spreads shards over groups. Resources that were created before there
    /// was a choice have none, which is the default.
    #[serde(default)]
    #[schemars(with = "String")]
    pub policy: Policy,
    /// The placement of a group's replicas on servers.
    pub placement: Placement,
    /// The number of replicas of each group, in a ring; elsewhere that can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_replicas: Option<u32>,
    /// The limits of clients' requests.
    pub limits: Limits,
    /// True if everything is kept in memory only.
    pub memory_only: bool,
    /// The storage class, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

/// A pod that is being replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replacing {
    /// Its name.
    pub pod: String,
    /// Its uid, which its successor doesn't have.
    pub uid: String,
}

/// A server whose replica is gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostServer {
    /// Its name.
    pub server: String,
    /// The uid of the claim with whose volume the replica was lost; a server with another claim has another
    /// replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// The time at which that was first seen.
    pub since: Time,
    /// The reason, such as a node that is gone.
    pub reason: String,
}

/// A server whose replica was gone for good, and was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedServer {
    /// Its name.
    pub server: String,
    /// The uid of the pod that was let go.
    pub uid: String,
    /// The time at which its volume was given up.
    pub at: Time,
}

/// A server whose eviction from a node that is about to be emptied has to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldEviction {
    /// Its name.
    pub server: String,
    /// The node.
    pub node: String,
    /// The server that must be ready first.
    pub waits_for: String,
}

/// The observed state of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Its name, such as g0.
    pub name: String,
    /// The number of servers in the group.
    pub replicas: u32,
    /// The number of servers in the group that are ready.
    pub ready_replicas: u32,
    /// The server that leads it, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The number of shards that the group owns.
    pub shards: u32,
}
