//! The parts of objects that an archive leaves out. Pure.

use serde_json::Value;

/// The text in the place of a value.
const LEFT_OUT: &str = "(left out)";
/// The annotation in which kubectl keeps a whole object, with its values.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes values of environment variables out of an object, and what only the API server has a use for.
pub(super) fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            if let Some(Value::Object(annotations)) = fields.get_mut("annotations") {
                annotations.remove(LAST_APPLIED);
            }
            if let Some(Value::Array(variables)) = fields.get_mut("env") {
                for value in variables.iter_mut().filter_map(|variable| variable.get_mut("value")) {
                    *value = LEFT_OUT.into();
                }
            }
            fields.values_mut().for_each(redact);
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_variables_are_left_out_wherever_they_stand() {
        let from = json!({ "secretKeyRef": { "name": "token", "key": "it" } });
        let mut pods = json!([{
            "metadata": {
                "name": "kv-g0-0",
                "managedFields": [{ "manager": "kubectl" }],
                "annotations": { LAST_APPLIED: "{\"env\":[\"s3cret\"]}", "own": "stays" },
            },
            "spec": { "containers": [{
                "name": "kvserver",
                "args": ["--http-listen=0.0.0.0:7002"],
                "env": [{ "name": "TOKEN", "value": "s3cret" }, { "name": "OTHER", "valueFrom": from }],
            }] },
        }]);
        redact(&mut pods);
        assert!(!pods.to_string().contains("s3cret"), "{pods}");
        let container = &pods[0]["spec"]["containers"][0];
        assert_eq!(container["env"][0], json!({ "name": "TOKEN", "value": LEFT_OUT }));
        assert_eq!(container["env"][1]["valueFrom"], from);
        assert_eq!(container["args"][0], "--http-listen=0.0.0.0:7002");
        assert_eq!(pods[0]["metadata"], json!({ "name": "kv-g0-0", "annotations": { "own": "stays" } }));
    }
}
