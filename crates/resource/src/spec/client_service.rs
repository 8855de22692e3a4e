//! The Service under which clients find any server.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Service under which clients find any server. A change restarts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.type == 'LoadBalancer' || size(self.loadBalancerSourceRanges) == 0", "message": "have no meaning without a load balancer: set type to LoadBalancer, or leave them out", "fieldPath": ".loadBalancerSourceRanges" },
        { "rule": "!has(self.ipFamilies) || size(self.ipFamilies) < 2 || self.ipFamilies[0] != self.ipFamilies[1]", "message": "name one family twice: leave one out", "fieldPath": ".ipFamilies" },
        { "rule": "!has(self.ipFamilies) || size(self.ipFamilies) < 2 || !has(self.ipFamilyPolicy) || self.ipFamilyPolicy != 'SingleStack'", "message": "are two, and SingleStack takes one: leave one out, or choose another policy", "fieldPath": ".ipFamilies" }
    ]))]
pub struct ClientService {
    /// The reach of the Service: ClusterIP (the cluster alone) or LoadBalancer (also from outside, through
    /// what the cluster's provider offers). The network policy must let clients from outside in.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Annotations, such as those by which providers know which load balancer is wanted.
    pub annotations: BTreeMap<String, String>,
    /// The only addresses, such as 10.0.0.0/8, from which the load balancer takes connections; all without
    /// any.
    #[schemars(length(max = 100))]
    pub load_balancer_source_ranges: Vec<String>,
    /// The servers to which connections are led first: PreferSameZone, PreferSameNode or PreferClose (an
    /// older name for the same zone). Any of them without it. The cluster must know the word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "distribution_schema")]
    pub traffic_distribution: Option<TrafficDistribution>,
    /// The number of families of its addresses: SingleStack (one), PreferDualStack (both where the cluster has
    /// both; the default), or RequireDualStack (both, else the Service is refused).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "policy_schema")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// The families of its addresses, IPv4 and IPv6, the main one first; as the cluster chooses without any.
    /// Kubernetes refuses another main one while the Service exists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "families_schema")]
    pub ip_families: Vec<IpFamily>,
}

/// The reach of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From within the cluster.
    #[default]
    ClusterIP,
    /// Also from outside.
    LoadBalancer,
}

/// The servers to which connections are led first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficDistribution {
    /// Those of the client's zone, as Kubernetes before 1.34 calls it.
    #[serde(rename = "PreferClose")]
    Close,
    /// Those of the client's zone.
    #[serde(rename = "PreferSameZone")]
    SameZone,
    /// Those of the client's node.
    #[serde(rename = "PreferSameNode")]
    SameNode,
}

/// The number of families of a Service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamilyPolicy {
    /// A single one.
    #[serde(rename = "SingleStack")]
    Single,
    /// Both, where the cluster has both.
    #[serde(rename = "PreferDualStack")]
    PreferDual,
    /// Both.
    #[serde(rename = "RequireDualStack")]
    RequireDual,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamily {
    /// Addresses such as 10.0.0.1.
    #[serde(rename = "IPv4")]
    V4,
    /// Addresses such as `fd00::1`.
    #[serde(rename = "IPv6")]
    V6,
}

impl ServiceType {
    /// Returns the type as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            ServiceType::ClusterIP => "ClusterIP",
            ServiceType::LoadBalancer => "LoadBalancer",
        }
    }
}

impl TrafficDistribution {
    /// Returns the distribution as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            TrafficDistribution::Close => "PreferClose",
            TrafficDistribution::SameZone => "PreferSameZone",
            TrafficDistribution::SameNode => "PreferSameNode",
        }
    }
}

impl IpFamilyPolicy {
    /// Returns the policy as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            IpFamilyPolicy::Single => "SingleStack",
            IpFamilyPolicy::PreferDual => "PreferDualStack",
            IpFamilyPolicy::RequireDual => "RequireDualStack",
        }
    }
}

impl IpFamily {
    /// Returns the family as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            IpFamily::V4 => "IPv4",
            IpFamily::V6 => "IPv6",
        }
    }
}

fn policy_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["SingleStack", "PreferDualStack", "RequireDualStack"] })
}

fn families_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array", "maxItems": 2, "items": { "type": "string", "enum": ["IPv4", "IPv6"] },
    })
}

fn distribution_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["PreferClose", "PreferSameZone", "PreferSameNode"] })
}
