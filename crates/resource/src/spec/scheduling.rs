//! The nodes on which the pods run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The nodes on which the pods run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scheduling {
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that don't keep the pods away.
    pub tolerations: Vec<Toleration>,
    /// Attraction to nodes and to other pods, and repulsion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Constraints that spread the pods of a group, and those of the shard manager. By default they
    /// spread evenly over the nodes, and a pod waits rather than share a node that others could do
    /// without; and over zones, as far as there are any with room. `[]` switches both off. A constraint
    /// without labelSelector gets that of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// The priority class of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}
