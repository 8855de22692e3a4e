//! The parts of objects that Kubernetes refuses to change, as literal values. An operator that builds other values
//! can't apply the objects of any store that exists: each pass fails, and no update reaches a server any more. Such a
//! change needs a way from the old form to the new one; to expect another value here is none.

use serde_json::json;

use super::*;

/// The fields of a StatefulSet's specification that can change.
const CHANGEABLE: [&str; 7] = [
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
];

/// Settings that can change while a store exists.
const OTHERS: &str = "image: {name: 'registry:5000/skv:2'}, server: {logFormat: json},
    podMetadata: {labels: {team: a}, annotations: {note: b}}, scheduling: {nodeSelector: {disk: fast}},
    ports: {client: 8000, peer: 8001, http: 8002, manager: 8003}, tuning: {heartbeatMs: 60},
    disruptionBudget: {enabled: false}, networkPolicy: {enabled: false}, podSecurityContext: {runAsUser: 7},
    podTemplate: {spec: {serviceAccountName: orders, containers: [{name: sidecar, image: i}]}}";

/// Returns the part of a StatefulSet that can't change.
fn fixed(spec: &str, title: &str) -> Value {
    let mut spec = find(&build(&input(spec)).unwrap(), title)["spec"].take();
    spec.as_object_mut().unwrap().retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
    spec
}

/// Returns that part of a StatefulSet whose pods have these labels. The size of a claim can change: for that a
/// StatefulSet is made again.
fn expected(labels: &Value, service: &str, size: &str) -> Value {
    json!({
        "podManagementPolicy": "Parallel",
        "selector": { "matchLabels": labels },
        "serviceName": service,
        "volumeClaimTemplates": [{
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": "data", "labels": labels },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": size } },
            },
        }],
    })
}

#[test]
fn the_fixed_part_of_a_groups_statefulset_never_changes() {
    let labels = json!({
        "app.kubernetes.io/component": "server",
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/managed-by": "skv-operator",
        "app.kubernetes.io/name": "shardedkv",
        "shardedkv.io/group": "g1",
    });
    let title = "StatefulSet demo-g1";
    assert_eq!(fixed("{groups: 2}", title), expected(&labels, "demo-g1", "10Gi"));
    let other = format!("{{groups: 3, replicas: 5, storage: {{size: 20Gi, whenDeleted: Delete}}, {OTHERS}}}");
    assert_eq!(fixed(&other, title), expected(&labels, "demo-g1", "20Gi"));
    let mut of_class = expected(&labels, "demo-g1", "10Gi");
    of_class["volumeClaimTemplates"][0]["spec"]["storageClassName"] = json!("fast");
    assert_eq!(fixed("{groups: 2, storage: {className: fast}}", title), of_class);
    let mut in_memory = expected(&labels, "demo-g1", "10Gi");
    in_memory.as_object_mut().unwrap().remove("volumeClaimTemplates");
    assert_eq!(fixed("{groups: 2, storage: {memoryOnly: true}}", title), in_memory);
}

#[test]
fn the_fixed_part_of_a_rings_statefulset_never_changes() {
    let labels = json!({
        "app.kubernetes.io/component": "server",
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/managed-by": "skv-operator",
        "app.kubernetes.io/name": "shardedkv",
        "shardedkv.io/placement": "ring",
    });
    let ring = "placement: ring, groups: 5, shards: 5, hash: integer";
    let title = "StatefulSet demo";
    assert_eq!(fixed(&format!("{{{ring}}}"), title), expected(&labels, "demo-ring", "10Gi"));
    assert_eq!(fixed(&format!("{{{ring}, {OTHERS}}}"), title), expected(&labels, "demo-ring", "10Gi"));
}

#[test]
fn the_fixed_parts_of_other_objects_never_change() {
    let labels = json!({
        "app.kubernetes.io/component": "shard-manager",
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/managed-by": "skv-operator",
        "app.kubernetes.io/name": "shardedkv",
    });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "demo-manager" });
    for spec in ["{groups: 1}".to_owned(), format!("{{groups: 1, {OTHERS}}}")] {
        let objects = build(&input(&spec)).unwrap();
        let deployment = find(&objects, "Deployment demo-manager");
        assert_eq!(deployment["spec"]["selector"], json!({ "matchLabels": labels }));
        assert_eq!(find(&objects, "RoleBinding demo-manager")["roleRef"], role);
        assert_eq!(find(&objects, "Service demo-g0")["spec"]["clusterIP"], "None");
    }
}
