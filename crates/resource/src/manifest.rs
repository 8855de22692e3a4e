//! A manifest: the resource as people write it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Problem, ShardedKvSpec, validate};

/// The version of the resource's schema.
pub const API_VERSION: &str = "shardedkv.io/v1alpha1";
/// The resource's kind.
pub const KIND: &str = "ShardedKV";

/// A resource outside of a cluster, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The resource's name and labels.
    pub metadata: Metadata,
    /// The desired state of the resource.
    pub spec: ShardedKvSpec,
}

/// The part of an object's metadata that matters outside a cluster; the rest is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The resource's name.
    pub name: String,
    /// The resource's namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The resource's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The resource's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text isn't YAML.
    #[error("not valid YAML: {0}")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    /// No document has the kind.
    #[error("no document has kind {KIND}{}", display_kinds(.0))]
    NoShardedKv(Vec<String>),
    /// Several documents have the kind.
    #[error("{0} documents have kind {KIND}: put each into a file of its own")]
    Several(usize),
    /// A field is missing, unknown, or of the wrong type.
    #[error("{path}: {reason}")]
    Field {
        /// The field, such as `spec.replicas`.
        path: String,
        /// The problem with the field.
        reason: String,
    },
    /// Fields have values that make no sense.
    #[error("{}", display_problems(.0))]
    Invalid(Vec<Problem>),
}

fn display_kinds(kinds: &[String]) -> String {
    if kinds.is_empty() { String::new() } else { format!("; there is {}", kinds.join(", ")) }
}

fn display_problems(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the one `ShardedKV` of a manifest, which may hold documents of other kinds too,
/// and validates it.
pub fn parse(yaml: &str) -> Result<Manifest, ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(Box::new)?;
    let kind = |document: &Value| document["kind"].as_str().map(str::to_owned);
    let (mut ours, others): (Vec<Value>, Vec<Value>) =
        documents.into_iter().partition(|document| kind(document).as_deref() == Some(KIND));
    let document = match (ours.pop(), ours.len()) {
        (None, _) => return Err(ManifestError::NoShardedKv(others.iter().filter_map(kind).collect())),
        (Some(document), 0) => document,
        (Some(_), more) => return Err(ManifestError::Several(more + 1)),
    };
    let resource = read(document)?;
    let problems = validate(&resource.metadata.name, &resource.spec);
    if problems.is_empty() { Ok(resource) } else { Err(ManifestError::Invalid(problems)) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: ShardedKvSpec,
    /// The status, which the operator writes; a manifest that was read from a cluster has it.
    #[serde(rename = "status", default)]
    _status: Value,
}

fn read(document: Value) -> Result<Manifest, ManifestError> {
    let document: Document = serde_path_to_error::deserialize(document).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => "manifest".to_owned(),
            path => path,
        };
        ManifestError::Field { path, reason: error.into_inner().to_string() }
    })?;
    if document.api_version != API_VERSION {
        let reason = format!("{:?} is not {API_VERSION}", document.api_version);
        return Err(ManifestError::Field { path: "apiVersion".to_owned(), reason });
    }
    Ok(Manifest { metadata: document.metadata, spec: document.spec })
}
