//! The cause of restarts: a hash over exactly the settings that a running server
//! can't take over.
//!
//! The hash is made from the resource, not from the pod that was built from it, and settings that have
//! their default value aren't part of it. So a newer operator, which builds pods a little differently or
//! knows more settings, asks for no restart. Nor does a quantity that is written otherwise.

use serde::Serialize;
use serde_json::{Map, Value};
use skv_resource::ShardedKvSpec;
use skv_sharding::fnv1a;

use crate::quantity::canonical;

/// The fields of the specification that count. All others take effect without a restart,
/// or when a pod is next made.
const COUNTED: [&str; 6] = ["server", "podMetadata", "podTemplate", "podSecurityContext", "ports", "tuning"];

/// Returns the hash of a specification. While it is equal, pods may stay.
pub fn restart_hash(spec: &ShardedKvSpec) -> Result<String, serde_json::Error> {
    let (chosen, defaults) = (object(spec)?, object(&ShardedKvSpec::default())?);
    let mut causes = Map::new();
    // A store always has an image, also one that its resource doesn't name.
    causes.insert("image".to_owned(), Value::from(spec.image.name.as_deref()));
    for field in COUNTED {
        let Some(value) = chosen.get(field) else { continue };
        let (mut value, default) = (value.clone(), defaults.get(field));
        // The defaults are spelled so.
        respell(&mut value);
        without_defaults(&mut value, default);
        // A field that has no default means something also when it is empty.
        if default.is_none() || value != Value::Object(Map::new()) {
            causes.insert(field.to_owned(), value);
        }
    }
    // Maps are sorted, so that the text depends on the values alone.
    Ok(format!("{:016x}", fnv1a(&serde_json::to_vec(&causes)?)))
}

fn object(value: &impl Serialize) -> Result<Map<String, Value>, serde_json::Error> {
    Ok(match serde_json::to_value(value)? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    })
}

/// Spells all quantities in one way: they are in `resources`, as containers have them, and the memory of
/// servers.
fn respell(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("requests" | "limits", Value::Object(quantities)) => {
                        quantities.values_mut().for_each(respell_text);
                    }
                    ("memory", text) => respell_text(text),
                    (_, below) => respell(below),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(respell),
        _ => {}
    }
}

fn respell_text(value: &mut Value) {
    if let Value::String(text) = value {
        *text = canonical(text);
    }
}

/// Removes the fields that equal the defaults.
fn without_defaults(value: &mut Value, defaults: Option<&Value>) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, value| defaults.and_then(|defaults| defaults.get(name)) != Some(value));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSecurityContext;
    use skv_resource::{Image, LogFormat, NodePorts, PullPolicy, Retention};

    use super::*;

    fn restarts(change: impl FnOnce(&mut ShardedKvSpec)) -> bool {
        let mut spec = ShardedKvSpec::default();
        change(&mut spec);
        restart_hash(&spec).unwrap() != restart_hash(&ShardedKvSpec::default()).unwrap()
    }

    fn some_resources() -> Option<k8s_openapi::api::core::v1::ResourceRequirements> {
        serde_json::from_value(serde_json::json!({ "limits": { "memory": "1Gi" } })).unwrap()
    }

    /// A failure means that a newer operator would restart every database.
    #[test]
    fn the_hash_of_an_unchanged_resource_never_changes() {
        let mut spec = ShardedKvSpec {
            image: Image { name: Some("shardedkv:1".to_owned()), ..Image::default() },
            ..ShardedKvSpec::default()
        };
        assert_eq!(restart_hash(&spec).unwrap(), "b09610c434833ff7");
        spec.server.worker_threads = Some(4);
        spec.ports.client = 8000;
        spec.tuning.heartbeat_ms = 60;
        spec.pod_metadata.labels.insert("a".to_owned(), "b".to_owned());
        spec.server.resources = some_resources();
        assert_eq!(restart_hash(&spec).unwrap(), "ffc0d3564dc511d4");
    }

    #[test]
    fn these_settings_restart_servers() {
        assert!(restarts(|spec| spec.image.name = Some("shardedkv:2".to_owned())));
        assert!(restarts(|spec| spec.server.worker_threads = Some(2)));
        assert!(restarts(|spec| spec.server.memory = Some("1Gi".parse().unwrap())));
        assert!(restarts(|spec| spec.server.log_operations = true));
        assert!(restarts(|spec| spec.server.log_format = LogFormat::Json));
        assert!(restarts(|spec| spec.server.resources = some_resources()));
        assert!(restarts(|spec| spec.tuning.heartbeat_ms = 60));
        assert!(restarts(|spec| spec.tuning.election_timeout_ms = 500));
        assert!(restarts(|spec| spec.tuning.snapshot_log_bytes = 1 << 20));
        assert!(restarts(|spec| spec.tuning.transfer_bytes_per_second = 1 << 20));
        assert!(restarts(|spec| spec.ports.client = 8000));
        assert!(restarts(|spec| spec.ports.peer = 8001));
        assert!(restarts(|spec| spec.ports.http = 8002));
        assert!(restarts(|spec| spec.ports.manager = 8003));
        let template = serde_json::json!({ "spec": { "hostNetwork": true } });
        assert!(restarts(|spec| spec.pod_template = serde_json::from_value(template).unwrap()));
        assert!(restarts(|spec| spec.pod_security_context = Some(PodSecurityContext::default())));
        assert!(restarts(|spec| drop(spec.pod_metadata.labels.insert("a".to_owned(), "b".to_owned()))));
        assert!(restarts(|spec| drop(spec.pod_metadata.annotations.insert("a".to_owned(), "b".to_owned()))));
    }

    #[test]
    fn a_quantity_that_is_written_otherwise_restarts_nothing() {
        let hash = |cpu: &str, memory: &str| {
            let mut spec = ShardedKvSpec::default();
            spec.server.resources = serde_json::from_value(serde_json::json!({
                "requests": { "cpu": cpu }, "limits": { "memory": memory },
            }))
            .unwrap();
            spec.server.memory = Some(memory.parse().unwrap());
            restart_hash(&spec).unwrap()
        };
        assert_eq!(hash("500m", "1Gi"), hash("0.5", "1024Mi"));
        assert_ne!(hash("500m", "1Gi"), hash("500m", "1G"));
        assert_ne!(hash("500m", "1Gi"), hash("5", "1Gi"));
    }

    #[test]
    fn these_settings_restart_no_server() {
        assert!(!restarts(|spec| spec.groups = 3));
        assert!(!restarts(|spec| spec.replicas = 5));
        assert!(!restarts(|spec| spec.paused = true));
        assert!(!restarts(|spec| spec.image.pull_policy = PullPolicy::Always));
        assert!(!restarts(|spec| spec.image.pull_secrets =
            vec![k8s_openapi::api::core::v1::LocalObjectReference::default()]));
        assert!(!restarts(|spec| spec.shard_manager.replicas = 3));
        assert!(!restarts(|spec| spec.shard_manager.resources = some_resources()));
        assert!(!restarts(|spec| spec.storage.size = "20Gi".parse().unwrap()));
        assert!(!restarts(|spec| spec.storage.when_deleted = Retention::Delete));
        assert!(!restarts(|spec| spec.storage.when_scaled = Retention::Delete));
        assert!(!restarts(|spec| spec.scheduling.priority_class_name = Some("high".to_owned())));
        assert!(!restarts(|spec| spec.disruption_budget.enabled = false));
        assert!(!restarts(|spec| spec.replacement.after_seconds = 60));
        assert!(!restarts(|spec| spec.network_policy.enabled = false));
        assert!(!restarts(|spec| drop(spec.service.annotations.insert("a".to_owned(), "b".to_owned()))));
        assert!(!restarts(|spec| spec.node_ports = Some(NodePorts { first: 30_400 })));
    }
}
