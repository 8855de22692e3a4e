//! The fields of a manifest that have no meaning on one machine, so that nobody believes they were obeyed.
//! Pure.

use serde_json::Value;
use skv_resource::{Manifest, ShardedKvSpec};

/// The fields that have a meaning here; of an object all of its fields.
const USED: [&str; 13] = [
    "spec.groups",
    "spec.replicas",
    "spec.shards",
    "spec.hash",
    "spec.policy",
    "spec.placement",
    "spec.limits",
    "spec.tuning",
    "spec.server.logFormat",
    "spec.server.logOperations",
    "spec.server.workerThreads",
    "spec.server.memory",
    "spec.storage.memoryOnly",
];

/// The object of the shard manager's fields.
const MANAGER: &str = "spec.shardManager";

/// Returns the fields that were given another value than the default one, and are left out here.
pub fn fields(resource: &Manifest) -> Vec<String> {
    let as_json = |spec: &ShardedKvSpec| serde_json::to_value(spec).unwrap_or_default();
    let mut found = Vec::new();
    collect("spec", &as_json(&ShardedKvSpec::default()), &as_json(&resource.spec), &mut found);
    found
}

fn collect(path: &str, default: &Value, given: &Value, found: &mut Vec<String>) {
    if USED.contains(&path) || default == given || is_what_runs(path, given) {
        return;
    }
    match (default, given) {
        // Only objects that hold a field of ours are looked into: the others are named as a whole.
        (Value::Object(_), Value::Object(fields)) if is_looked_into(path) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), &default[name], value, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

fn is_looked_into(path: &str) -> bool {
    path == MANAGER
        || USED.iter().any(|used| used.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns true for the one shard manager that runs here, whoever asks for more.
fn is_what_runs(path: &str, given: &Value) -> bool {
    path.strip_prefix(MANAGER) == Some(".replicas") && *given == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unused(spec: &str) -> Vec<String> {
        let yaml = format!(
            "{{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {{name: demo}}, spec: {spec}}}"
        );
        fields(&skv_resource::parse(&yaml).unwrap())
    }

    #[test]
    fn what_only_a_cluster_obeys_is_named() {
        assert_eq!(unused("{}"), [""; 0]);
        assert_eq!(unused("{groups: 5, tuning: {heartbeatMs: 20}, storage: {memoryOnly: true}}"), [""; 0]);
        assert_eq!(unused("{shardManager: {replicas: 1}}"), [""; 0], "one runs");
        assert_eq!(
            unused(
                "{shardManager: {replicas: 3}, storage: {size: 1Gi}, nodePorts: {first: 30000}, \
                 server: {logOperations: true, resources: {limits: {memory: 1Gi}}}}"
            ),
            ["spec.nodePorts", "spec.server.resources", "spec.shardManager.replicas", "spec.storage.size"]
        );
    }
}
