//! The part of an object that the operator applies, as a number. While that is the same there is nothing to read.
//! It is worked out when a watch shows the object, which is a tree of values then and text ever after.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kube::api::DynamicObject;
use serde_json::Value;

/// The parts of objects that others write: controllers, and the shard manager in its map. No object is built with one
/// of them, since a change of it wouldn't be seen.
const OF_OTHERS: [&str; 5] = ["format", "imagePullSecrets", "record", "secrets", "status"];
/// The fields of the metadata that change with any part.
const OF_VERSIONS: [&str; 3] = ["generation", "managedFields", "resourceVersion"];

/// Returns the fingerprint of an object, defaults of the API server included.
pub(crate) fn fingerprint(object: &DynamicObject) -> Result<u64, serde_json::Error> {
    let mut metadata = serde_json::to_value(&object.metadata)?;
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|field, _| !OF_VERSIONS.contains(&field.as_str()));
    }
    let mut hasher = DefaultHasher::new();
    metadata.hash(&mut hasher);
    let parts = object.data.as_object().into_iter().flatten();
    for part in parts.filter(|(name, _)| !OF_OTHERS.contains(&name.as_str())) {
        part.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Returns the fingerprint of the content of an object that was built.
pub(crate) fn of_content(content: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skv_operator_plan::build::build;

    use super::*;
    use crate::testing::input;

    fn differs(change: impl FnOnce(&mut Value)) -> bool {
        let before = json!({
            "metadata": { "name": "demo", "labels": { "a": "b" }, "resourceVersion": "7", "generation": 1 },
            "spec": { "replicas": 3 },
            "subjects": [{ "name": "demo" }],
            "status": { "replicas": 3 },
        });
        let mut after = before.clone();
        change(&mut after);
        let of = |object: Value| fingerprint(&serde_json::from_value(object).unwrap()).unwrap();
        of(before) != of(after)
    }

    #[test]
    fn an_object_is_another_when_any_part_is_that_the_operator_applies() {
        assert!(differs(|object| object["spec"]["replicas"] = json!(2)));
        assert!(differs(|object| object["subjects"][0]["name"] = json!("other")));
        assert!(differs(|object| object["rules"] = json!([])));
        assert!(differs(|object| object["metadata"]["labels"]["a"] = json!("c")));
        assert!(differs(|object| object["metadata"]["uid"] = json!("8d0e")));
        assert!(differs(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn no_object_is_built_with_a_part_that_others_write() {
        for object in build(&input()).unwrap() {
            let parts = object.content.as_object().unwrap();
            let ours = OF_OTHERS.iter().filter(|part| parts.contains_key(**part));
            assert_eq!(ours.count(), 0, "{}", object.content);
        }
    }

    #[test]
    fn what_others_write_makes_no_other_object() {
        assert!(!differs(|object| object["status"]["replicas"] = json!(2)));
        assert!(!differs(|object| object["record"] = json!({ "revision": 1 })));
        assert!(!differs(|object| object["imagePullSecrets"] = json!([{ "name": "token" }])));
        assert!(!differs(|object| {
            // The items of a list, by which a watch begins, lack kind and version.
            object["apiVersion"] = json!("v1");
            object["kind"] = json!("Service");
        }));
        assert!(!differs(|object| object["metadata"]["resourceVersion"] = json!("8")));
        assert!(!differs(|object| object["metadata"]["generation"] = json!(2)));
        assert!(!differs(|object| object["metadata"]["managedFields"] = json!([{ "manager": "kubelet" }])));
    }
}
