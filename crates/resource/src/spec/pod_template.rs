//! Additions to the pods, as a strategic merge patch.

use k8s_openapi::api::core::v1::PodSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Additions to the template of all pods, which are merged into it as `kubectl patch` does: lists whose
/// items have names are merged by them. It stays as it was written, so that a field that Kubernetes doesn't
/// know can be named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(Map<String, Value>);

impl PodTemplate {
    /// The name of the container of a server.
    pub const SERVER: &'static str = "kvserver";
    /// The name of the container of a shard manager.
    pub const SHARD_MANAGER: &'static str = "shardmanager";
    /// The name of the volume of a server's data.
    pub const DATA: &'static str = "data";
    /// The directory at which it is mounted.
    pub const DATA_DIR: &'static str = "/data";
    /// The name of the port by which clients reach a server.
    pub const CLIENT_PORT: &'static str = "client";
    /// The name of the port by which servers, and the operator, reach a server.
    pub const PEER_PORT: &'static str = "peer";
    /// The name of the port by which all reach a shard manager.
    pub const MANAGER_PORT: &'static str = "manager";
    /// The name of the port of health and metrics.
    pub const HTTP_PORT: &'static str = "http";
    /// The label of a server's pod that holds the name of its group.
    pub const GROUP_LABEL: &'static str = "shardedkv.io/group";

    /// Returns the fields as they were written.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Reads the patch of the pods' specification.
    pub fn pod_spec(&self) -> Result<PodSpec, serde_json::Error> {
        self.0.get("spec").cloned().map_or_else(|| Ok(PodSpec::default()), serde_json::from_value)
    }
}

impl JsonSchema for PodTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PodTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The whole schema of a pod would make the definition larger than `kubectl apply` takes.
        schemars::json_schema!({
            "type": "object",
            "properties": {
                "spec": {
                    "description": "The additions to the specification of the pods, as `spec` of a pod has them.",
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": true,
                },
            },
        })
    }
}
