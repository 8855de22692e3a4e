//! The settings of the shard manager.

use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::server::requests;

/// The settings of the shard manager, which is one process outside of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShardManager {
    /// The number of pods that serve the shard map. They need no quorum; one suffices.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u32,
    /// The processors and memory of each container: by default it asks for a little, and has no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

impl Default for ShardManager {
    fn default() -> Self {
        ShardManager { replicas: 2, resources: Some(requests("50m", "64Mi")) }
    }
}
