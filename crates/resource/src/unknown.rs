//! Specifications of another version of the resource: a newer definition may have fields that this one lacks.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::crd::definitions;
use crate::spec::ShardedKvSpec;

/// The schema of a specification.
static SCHEMA: LazyLock<JSONSchemaProps> = LazyLock::new(|| {
    let [definition, _] = definitions();
    let schemas =
        definition.spec.versions.into_iter().filter_map(|version| version.schema?.open_api_v3_schema);
    let spec = { schemas }.find_map(|schema| schema.properties?.remove("spec"));
    spec.unwrap_or_default()
});

/// Reads a specification without the fields that this version doesn't know, and returns their paths too.
/// Manifests that people write are read by [`crate::parse`], which refuses such fields.
pub fn read_known(mut spec: Value) -> Result<(ShardedKvSpec, Vec<String>), serde_json::Error> {
    let mut unknown = Vec::new();
    take_unknown(&SCHEMA, &mut spec, "spec", &mut unknown);
    Ok((serde_json::from_value(spec)?, unknown))
}

/// Takes fields away as an API server does.
fn take_unknown(schema: &JSONSchemaProps, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    match (value, &schema.properties, &schema.additional_properties, &schema.items) {
        (Value::Object(fields), Some(known), _, _) => fields.retain(|name, field| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(schema) => take_unknown(schema, field, &path, unknown),
                None => unknown.push(path),
            }
            known.contains_key(name)
        }),
        (Value::Object(fields), None, Some(JSONSchemaPropsOrBool::Schema(schema)), _) => {
            for (name, field) in fields {
                take_unknown(schema, field, &format!("{path}.{name}"), unknown);
            }
        }
        (Value::Array(items), _, _, Some(JSONSchemaPropsOrArray::Schema(schema))) => {
            for (index, item) in items.iter_mut().enumerate() {
                take_unknown(schema, item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_a_newer_definition_are_passed_over_and_named() {
        let spec = json!({
            "groups": 3,
            "colour": "red",
            "storage": { "size": "2Gi", "encryption": { "key": "k" } },
            "podMetadata": { "labels": { "team": "a" } },
        });
        let (read, unknown) = read_known(spec).unwrap();
        assert_eq!((read.groups, read.storage.size.to_string().as_str()), (3, "2Gi"));
        assert_eq!(read.pod_metadata.labels["team"], "a", "labels are no fields");
        assert_eq!(unknown, ["spec.colour", "spec.storage.encryption"]);
    }

    #[test]
    fn what_this_version_writes_it_knows() {
        let spec = serde_json::to_value(ShardedKvSpec::default()).unwrap();
        assert_eq!(read_known(spec).unwrap(), (ShardedKvSpec::default(), Vec::new()));
    }

    #[test]
    fn values_that_make_no_sense_are_not_passed_over() {
        assert!(read_known(json!({ "groups": "three" })).is_err());
        assert!(read_known(json!({ "hash": "sha3" })).is_err());
        assert!(read_known(Value::Null).is_err());
    }
}
