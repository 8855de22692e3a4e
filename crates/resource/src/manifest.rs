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
    #[error("not valid YAML: {}", without_advice_for_programmers(&.0.to_string()))]
    Yaml(Box<serde_saphyr::Error>),
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

/// The fields of an object's metadata that Kubernetes knows: a manifest that was read from a cluster has them.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "selfLink",
];

/// Reads the one `ShardedKV` of a manifest, which may hold documents of other kinds too,
/// and validates it.
pub fn parse(yaml: &str) -> Result<Manifest, ManifestError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| ManifestError::Yaml(Box::new(error)))?;
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

fn read(mut document: Value) -> Result<Manifest, ManifestError> {
    drop_nulls(&mut document);
    let metadata = document["metadata"].as_object().into_iter().flatten();
    if let Some((unknown, _)) = metadata.into_iter().find(|(name, _)| !METADATA.contains(&name.as_str())) {
        let reason = format!("unknown field, expected one of {}", METADATA.join(", "));
        return Err(ManifestError::Field { path: format!("metadata.{unknown}"), reason });
    }
    let document: Document = serde_path_to_error::deserialize(document).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => "manifest".to_owned(),
            path => path,
        };
        ManifestError::Field { path, reason: in_plain_words(&error.into_inner().to_string()) }
    })?;
    if document.api_version != API_VERSION {
        let reason = format!("{:?} is not {API_VERSION}", document.api_version);
        return Err(ManifestError::Field { path: "apiVersion".to_owned(), reason });
    }
    Ok(Manifest { metadata: document.metadata, spec: document.spec })
}

/// Takes fields away that are null, which counts as absent as in Kubernetes.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Returns the text of the parser without what its callers could do, of which a person knows nothing.
fn without_advice_for_programmers(text: &str) -> String {
    text.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

/// Returns the reason of a wrong value with its type in the words of people.
fn in_plain_words(reason: &str) -> String {
    let types = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected a map", "expected fields"),
        ("expected struct ", "expected the fields of "),
    ];
    types.iter().fold(reason.to_owned(), |reason, (from, to)| reason.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(yaml: &str) -> String {
        parse(yaml).unwrap_err().to_string()
    }

    const HEAD: &str = "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\n";

    #[test]
    fn a_typo_in_the_metadata_is_refused() {
        let message = refused(&format!("{HEAD}metadata: {{name: demo, nmespace: x}}\n"));
        assert!(message.starts_with("metadata.nmespace: unknown field, expected one of name"), "{message}");
        let of_a_cluster = "metadata: {name: demo, uid: a, resourceVersion: '7', managedFields: []}\n";
        parse(&format!("{HEAD}{of_a_cluster}")).unwrap();
    }

    #[test]
    fn null_counts_as_absent() {
        let yaml =
            format!("{HEAD}metadata: {{name: demo, labels: null}}\nspec: {{groups: null, server: null}}\n");
        assert_eq!(parse(&yaml).unwrap().spec.groups, ShardedKvSpec::default().groups);
    }

    #[test]
    fn wrong_values_are_refused_in_plain_words() {
        let message = refused(&format!("{HEAD}metadata: {{name: demo}}\nspec: {{groups: many}}\n"));
        assert!(
            message.starts_with("spec.groups: ") && message.contains("a whole number from 0 to"),
            "{message}"
        );
        let message = refused(&format!("{HEAD}metadata: {{name: demo}}\nspec:\n  groups: 1\n  groups: 2\n"));
        assert!(message.starts_with("not valid YAML") && !message.contains("Options"), "{message}");
    }
}
