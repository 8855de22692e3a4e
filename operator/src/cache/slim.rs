//! The parts of seen objects that are kept. Pods are nearly a third of all objects and the largest of them, and few of
//! their fields are read: `skv-operator-plan`'s `observed` and `pods` read them. Other kinds are compared as a whole
//! with the objects that are built.

use kube::api::DynamicObject;
use serde_json::Value;

/// The parts of a pod's specification that are read.
const SPECIFICATION: [&str; 2] = ["containers", "nodeName"];
/// The parts of a container that are read.
const CONTAINER: [&str; 3] = ["image", "name", "ports"];
/// The parts of a pod's status that are read.
const STATUS: [&str; 4] = ["conditions", "containerStatuses", "initContainerStatuses", "podIP"];

/// Takes those parts of an object away that no pass reads.
pub(super) fn slim(kind: &str, object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    if kind != "Pod" {
        return;
    }
    if let Some(specification) = object.data.get_mut("spec") {
        retain(specification, &SPECIFICATION);
        let containers = specification.get_mut("containers").and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            retain(container, &CONTAINER);
        }
    }
    if let Some(status) = object.data.get_mut("status") {
        retain(status, &STATUS);
    }
}

fn retain(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|field, _| fields.contains(&field.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;
    use skv_operator_plan::names::{GROUP_LABEL, RESTART_HASH_ANNOTATION};
    use skv_operator_plan::observed::{Objects, Observed, observe};

    use super::*;

    /// Returns a pod in which everything is set that a pass may read, and some that none does.
    fn pod(name: &str, status: &Value) -> Value {
        let mut status = status.clone();
        status["podIP"] = json!("10.0.0.7");
        status["qosClass"] = json!("Burstable");
        json!({
            "metadata": {
                "name": name, "namespace": "prod", "uid": format!("uid-of-{name}"),
                "labels": { GROUP_LABEL: "g0" },
                "annotations": { RESTART_HASH_ANNOTATION: "h" },
                "managedFields": [{ "manager": "kubelet", "operation": "Update" }],
            },
            "spec": {
                "nodeName": "node1",
                "tolerations": [{ "key": "a", "operator": "Exists" }],
                "containers": [{
                    "name": "kvserver", "image": "shardedkv:7", "args": ["--group=g0"],
                    "ports": [{ "name": "peer", "containerPort": 7001 }],
                }],
            },
            "status": status,
        })
    }

    fn statuses() -> [Value; 4] {
        let container = |state: Value| json!([{ "name": "kvserver", "ready": false, "state": state }]);
        let condition =
            |type_: &str, status: &str| json!([{ "type": type_, "status": status, "reason": "full" }]);
        let running = json!({ "running": { "startedAt": "1970-01-01T00:00:00Z" } });
        let waiting = json!({ "waiting": { "reason": "ErrImagePull", "message": "no" } });
        [
            json!({ "conditions": condition("Ready", "True"), "containerStatuses": container(running.clone()) }),
            json!({ "conditions": condition("Ready", "False"), "containerStatuses": container(running) }),
            json!({ "conditions": condition("PodScheduled", "False") }),
            json!({ "initContainerStatuses": container(waiting) }),
        ]
    }

    fn observed(pods: &[DynamicObject]) -> Observed {
        let pods = pods.iter().map(|pod| serde_json::from_value(json!(pod)).unwrap());
        let objects = Objects { pods: pods.collect::<Vec<Pod>>(), ..Objects::default() };
        observe(&objects, "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap())
    }

    #[test]
    fn a_pass_reads_from_a_slim_pod_all_that_it_reads_from_a_whole_one() {
        let pods: Vec<DynamicObject> = (0..)
            .zip(statuses())
            .map(|(ordinal, status)| {
                serde_json::from_value(pod(&format!("demo-g0-{ordinal}"), &status)).unwrap()
            })
            .collect();
        let mut slim_pods = pods.clone();
        for pod in &mut slim_pods {
            slim("Pod", pod);
        }
        assert_eq!(observed(&slim_pods), observed(&pods));
        let kept = json!(slim_pods).to_string();
        for unread in ["managedFields", "tolerations", "args", "qosClass"] {
            assert!(!kept.contains(unread), "{kept}");
        }
    }

    #[test]
    fn other_kinds_keep_all_that_was_applied() {
        let text = json!({ "metadata": { "name": "demo" }, "spec": { "type": "ClusterIP", "ports": [] } });
        let mut service: DynamicObject = serde_json::from_value(text.clone()).unwrap();
        service.metadata.managed_fields = Some(Vec::new());
        slim("Service", &mut service);
        assert_eq!(json!(service), text);
    }
}
