//! The limits of clients' requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits of clients' requests. Fixed for the life of the resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The longest key, in bytes.
    #[schemars(range(min = 1, max = 65536))]
    pub max_key_bytes: u64,
    /// The longest value, in bytes, also as the result of appends.
    #[schemars(range(min = 1, max = 2_097_152))]
    pub max_value_bytes: u64,
    /// The maximum number of clerks' sessions that a shard remembers; beyond it the least
    /// recently used one is forgotten.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_sessions_per_shard: u64,
    /// The time for which a clerk's session must be unused before it may be forgotten, in seconds.
    #[schemars(range(min = 10, max = 86400))]
    pub session_ttl_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let skv_sharding::Limits { max_key_bytes, max_value_bytes, max_sessions_per_shard, session_ttl_ms } =
            skv_sharding::Limits::DEFAULT;
        let session_ttl_seconds = session_ttl_ms / 1000;
        Limits { max_key_bytes, max_value_bytes, max_sessions_per_shard, session_ttl_seconds }
    }
}
