//! Who may connect to the pods, and who may evict them.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether evictions wait until the group can spare a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DisruptionBudget {
    /// Allow one eviction per group at a time. Groups of one replica never have a budget:
    /// it would forbid every drain.
    pub enabled: bool,
}

/// Who may connect to the pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworkPolicy {
    /// Keep all but the resource's own pods and the operator away from the servers' peer port.
    pub enabled: bool,
    /// Who may use the ports for clients, the shard manager and http; everybody without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<NetworkPolicyPeer>>,
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        DisruptionBudget { enabled: true }
    }
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        NetworkPolicy { enabled: true, clients: None }
    }
}
