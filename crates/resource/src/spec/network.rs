//! The rules about connections to the pods, node ports, and evictions.

use k8s_openapi::api::networking::v1::{NetworkPolicyIngressRule, NetworkPolicyPeer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skv_sharding::GroupId;

/// The disruption budget of each group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DisruptionBudget {
    /// Allow one eviction per group at a time. Groups of one replica never have a budget:
    /// it would forbid every drain.
    pub enabled: bool,
}

/// The network policy of the pods, which limits connections to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworkPolicy {
    /// Keep all but the resource's own pods and the operator away from the servers' peer port and the shard
    /// manager's, and everybody from ports that aren't ours.
    pub enabled: bool,
    /// Peers that may use the ports for clients and http, and with `nodePorts` the shard manager's; everybody
    /// may without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<NetworkPolicyPeer>>,
    /// More rules for connections to the pods, such as for the ports of sidecars or of a service mesh.
    pub ingress: Vec<NetworkPolicyIngressRule>,
}

/// The ports of every node under which the store is reached from outside of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePorts {
    /// The shard manager's port. That of group N is `first + 1 + N`, by which alone the group is
    /// known: `GetShardIndex` answers it.
    #[schemars(range(min = 30000, max = 32767))]
    pub first: u16,
}

impl NodePorts {
    /// The node ports that an API server assigns by default.
    pub const RANGE: std::ops::RangeInclusive<u16> = 30_000..=32_767;

    /// Returns the port of a group; `None` for one whose number is too high.
    pub fn of_group(self, group: GroupId) -> Option<u16> {
        let number = u16::try_from(group.0).ok()?;
        let port = self.first.checked_add(1)?.checked_add(number)?;
        Self::RANGE.contains(&port).then_some(port)
    }
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        DisruptionBudget { enabled: true }
    }
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        NetworkPolicy { enabled: true, clients: None, ingress: Vec::new() }
    }
}
