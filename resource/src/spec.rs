//! What a `ShardedKV` can be told. The documentation of each field becomes its description
//! in the schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skv_sharding::Hash;

/// The desired state of a `ShardedKV`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShardedKvSpec {
    /// How many Raft groups share the shards.
    #[schemars(range(min = 1))]
    pub groups: u32,
    /// How many replicas each group has: odd, since one more would tolerate no further failure.
    #[schemars(range(min = 1, max = 7))]
    pub replicas: u32,
    /// How many shards the keys are hashed to. Fixed for the life of the resource; 240
    /// divides evenly by 1 to 6, 8, 10 and 12 groups.
    #[schemars(range(min = 1, max = 10000))]
    pub shards: u32,
    /// How a key is mapped to a shard: fnv1, fnv1a, or integer (decimal keys, key mod shards).
    /// Fixed for the life of the resource.
    #[schemars(schema_with = "hash_schema")]
    pub hash: Hash,
    /// Which servers hold the replicas of a group.
    pub placement: Placement,
    /// How each server runs.
    pub server: Server,
    /// What a client may ask for. Fixed for the life of the resource.
    pub limits: Limits,
    /// Times and sizes that trade one good thing for another.
    pub tuning: Tuning,
    /// Where a server keeps its data.
    pub storage: Storage,
}

/// Which servers hold the replicas of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Each group has servers of its own.
    #[default]
    Groups,
    /// All groups share one ring of servers, each of which holds replicas of several groups.
    Ring,
}

/// How each server runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Server {
    /// How many threads serve requests. By default one per processor; where `skv up` runs all
    /// servers on one machine, those of a group share its processors.
    #[schemars(range(min = 1, max = 1024))]
    pub worker_threads: Option<u16>,
    /// Print the input and the result of every operation.
    pub log_operations: bool,
    /// The form of the servers' logs.
    pub log_format: LogFormat,
}

/// The form of the servers' logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// What a client may ask for. Fixed for the life of the resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The longest key, in bytes.
    #[schemars(range(min = 1, max = 65536))]
    pub max_key_bytes: u64,
    /// The longest value, in bytes, also as the result of appends.
    #[schemars(range(min = 1, max = 2_097_152))]
    pub max_value_bytes: u64,
    /// How many sessions of clerks a shard remembers; past it the one that was unused for
    /// longest is forgotten.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_sessions_per_shard: u64,
    /// How long a clerk's session may be unused before it may be forgotten, in seconds.
    #[schemars(range(min = 10, max = 86400))]
    pub session_ttl_seconds: u64,
}

/// Times and sizes that trade one good thing for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tuning {
    /// How often a leader shows that it is alive, in milliseconds.
    #[schemars(range(min = 10, max = 10000))]
    pub heartbeat_ms: u64,
    /// After at least this long without its leader a replica stands for election, in
    /// milliseconds; at most twice as long. At least three heartbeats.
    #[schemars(range(min = 50, max = 60000))]
    pub election_timeout_ms: u64,
    /// A replica writes a snapshot after this many bytes of log.
    #[schemars(range(min = 1024))]
    pub snapshot_log_bytes: u64,
}

/// Where a server keeps its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Storage {
    /// Keep everything in memory only: a server is a new replica after every restart, and
    /// acknowledged writes survive as long as a majority of each group stays up.
    pub memory_only: bool,
}

impl Default for ShardedKvSpec {
    fn default() -> Self {
        ShardedKvSpec {
            groups: 2,
            replicas: 3,
            shards: 240,
            hash: Hash::default(),
            placement: Placement::default(),
            server: Server::default(),
            limits: Limits::default(),
            tuning: Tuning::default(),
            storage: Storage::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_key_bytes: 4096,
            max_value_bytes: 1 << 20,
            max_sessions_per_shard: 16384,
            session_ttl_seconds: 600,
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning { heartbeat_ms: 50, election_timeout_ms: 250, snapshot_log_bytes: 64 << 20 }
    }
}

fn hash_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["fnv1", "fnv1a", "integer"] })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_field_of_the_schema_is_described() {
        fn check(path: &str, schema: &Value) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(property["description"].is_string(), "{path}: {property}");
                check(&path, property);
            }
        }
        let settings = schemars::generate::SchemaSettings::default().with(|s| s.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<ShardedKvSpec>().to_value();
        assert_eq!(schema["properties"].as_object().unwrap().len(), 9);
        check("spec", &schema);
    }

    #[test]
    fn the_schema_names_every_hash() {
        for hash in [Hash::Fnv1, Hash::Fnv1a, Hash::Integer] {
            let schema = hash_schema(&mut schemars::SchemaGenerator::default()).to_value();
            let name = serde_json::to_value(hash).unwrap();
            assert!(schema["enum"].as_array().unwrap().contains(&name), "{name}");
        }
    }
}
