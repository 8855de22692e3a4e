//! The definitions of our resources, as an API server takes them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

use crate::{ShardMap, ShardedKv};

/// Returns the definitions of all our resources.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [ShardedKv::crd(), ShardMap::crd()].map(|mut definition| {
        for version in &mut definition.spec.versions {
            if let Some(schema) =
                version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                tidy(schema);
            }
        }
        definition
    })
}

/// Removes formats that only Rust has: API servers warn of them. Joins the lines of
/// descriptions, which were broken to fit into source files.
fn tidy(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = description.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    }
    if schema.format.as_ref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => tidy(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(path: &str, schema: &JSONSchemaProps) {
        for (name, property) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(property.description.is_some(), "{path} isn't described");
            assert!(!property.format.as_ref().is_some_and(|f| f.starts_with("uint")), "{path}");
            described(&path, property);
        }
    }

    #[test]
    fn every_field_is_described() {
        let [sharded_kv, _] = definitions();
        let schema =
            sharded_kv.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let properties = schema.properties.as_ref().unwrap();
        described("spec", &properties["spec"]);
        described("status", &properties["status"]);
    }

    #[test]
    fn every_field_of_the_spec_has_a_default_or_may_be_absent() {
        let [sharded_kv, _] = definitions();
        let schema =
            sharded_kv.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let spec = &schema.properties.as_ref().unwrap()["spec"];
        assert_eq!(spec.required, None);
        for (name, property) in spec.properties.as_ref().unwrap() {
            let may_be_absent = property.nullable == Some(true);
            assert!(property.default.is_some() || may_be_absent, "spec.{name} has no default");
        }
    }
}
