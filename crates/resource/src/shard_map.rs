//! The `ShardMap` resource: the record of one shard manager, for it to keep and for
//! people to read.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of a `ShardMap`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "shardedkv.io",
    version = "v1alpha1",
    kind = "ShardMap",
    plural = "shardmaps",
    singular = "shardmap",
    namespaced,
    no_spec,
    doc = "The groups that own the shards of a ShardedKV. Kept by its shard manager: changes by hand break it.",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".record.revision",
        description = "The number of times that the map was written"
    ),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".record.cluster"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ShardMapFields {
    /// The version of the record's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<i32>,
    /// The shard manager's record; absent before the first configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub record: Option<Value>,
}

/// Returns the schema of an object whose fields are not described.
pub(crate) fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
