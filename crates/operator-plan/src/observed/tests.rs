//! The state that objects show.

use serde_json::{Value, json};

use super::*;
use crate::names::GROUP_LABEL;

fn parsed<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn pod(name: &str, labels: &Value, status: &Value) -> Pod {
    let containers = json!([
        { "name": SERVER, "image": "shardedkv:0.1.0" },
        { "name": "mesh", "image": "mesh:1.29.1" },
    ]);
    parsed(json!({
        "metadata": { "name": name, "uid": name, "labels": labels },
        "spec": { "containers": containers },
        "status": status,
    }))
}

#[test]
fn what_servers_run_is_the_image_of_their_own_container() {
    let pods = vec![pod("demo-g0-0", &json!({ GROUP_LABEL: "g0" }), &json!({}))];
    let seen = observe(&Objects { pods, ..Objects::default() }, now());
    assert_eq!(seen.images, ["shardedkv:0.1.0".to_owned()].into());
}

#[test]
fn pods_from_before_a_restart_that_was_asked_for_are_outdated() {
    let hash = |asked: Option<&str>, had: Option<&str>| {
        let annotated = |restarted: Option<&str>| {
            let mut annotations = json!({ RESTART_HASH_ANNOTATION: "h1" });
            if let Some(restarted) = restarted {
                annotations[RESTARTED_ANNOTATION] = json!(restarted);
            }
            annotations
        };
        let labels = json!({ GROUP_LABEL: "g0" });
        let set = json!({
            "metadata": { "name": "demo-g0", "labels": labels },
            "spec": {
                "selector": {}, "serviceName": "",
                "template": { "metadata": { "annotations": annotated(asked) } },
            },
        });
        let mut pod = pod("demo-g0-0", &labels, &json!({}));
        pod.metadata.annotations = parsed(annotated(had));
        let objects = Objects { sets: vec![parsed(set)], pods: vec![pod], ..Objects::default() };
        let seen = observe(&objects, now());
        seen.servers.values().flat_map(|servers| servers.pods.values()).next().unwrap().restart_hash.clone()
    };
    let (first, second) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-01T00:05:00Z"));
    assert_eq!(hash(None, None), "h1");
    assert_eq!(hash(first, first), "h1");
    assert_eq!(hash(None, first), "h1", "nobody asks for another");
    assert_eq!(hash(first, None), "");
    assert_eq!(hash(second, first), "");
}

#[test]
fn servers_whose_set_is_made_again_are_as_many_as_their_pods_and_volumes_show() {
    let labels = json!({ GROUP_LABEL: "g0" });
    let count = |pods: &[&str], claims: &[&str], replicas: Option<u32>| {
        let claim = |name: &&str| {
            let leaves = name.strip_prefix("leaving ");
            let stamp = leaves.map(|_| "2026-01-01T00:00:00Z");
            let name = leaves.unwrap_or(name);
            parsed(json!({
                "metadata": { "name": name, "labels": labels, "deletionTimestamp": stamp },
            }))
        };
        let set = |replicas: u32| {
            let spec = json!({ "replicas": replicas, "selector": {}, "serviceName": "", "template": {} });
            parsed(json!({ "metadata": { "name": "demo-g0", "labels": labels }, "spec": spec }))
        };
        let objects = Objects {
            pods: pods.iter().map(|name| pod(name, &labels, &json!({}))).collect(),
            claims: claims.iter().map(claim).collect(),
            sets: replicas.map(set).into_iter().collect(),
            ..Objects::default()
        };
        observe(&objects, now()).servers.values().next().unwrap().replicas()
    };
    let volumes = ["data-demo-g0-0", "data-demo-g0-1", "data-demo-g0-4"];
    assert_eq!(count(&["demo-g0-0", "demo-g0-1"], &volumes, None), 5, "the pod of a voter is away");
    assert_eq!(count(&["demo-g0-0", "demo-g0-2"], &volumes[..2], None), 3);
    assert_eq!(count(&["demo-g0-0"], &["leaving data-demo-g0-4"], None), 1);
    assert_eq!(count(&["demo-g0-0"], &["data-demo-g0-0-20260101"], None), 1, "a copy is no server's");
    assert_eq!(count(&["demo-g0-0"], &volumes, Some(3)), 3, "a set says it itself");
}

#[test]
fn shard_managers_are_away_when_none_has_been_ready_for_long() {
    let manager = |ready: &str, since: &str| {
        let ready = json!({ "type": "Ready", "status": ready, "lastTransitionTime": since });
        pod("demo-manager-a", &json!({}), &json!({ "conditions": [ready] }))
    };
    let away = |pods: Vec<Pod>| observe(&Objects { pods, ..Objects::default() }, now()).managers_away;
    let (long, lately) = ("2026-01-01T00:07:00Z", "2026-01-01T00:09:50Z");
    assert!(!away(Vec::new()), "none was made yet");
    assert!(away(vec![manager("False", long)]));
    assert!(!away(vec![manager("False", lately)]));
    assert!(!away(vec![manager("False", long), manager("True", long)]));
    let server = pod("demo-g0-0", &json!({ GROUP_LABEL: "g0" }), &json!({}));
    assert!(away(vec![manager("False", long), server]), "servers are no shard managers");
}

#[test]
fn pods_are_lacking_when_their_controller_says_that_it_has_made_fewer() {
    let lacks = |status: Value| {
        let set = json!({
            "metadata": { "name": "demo-g0", "generation": 2, "labels": { GROUP_LABEL: "g0" } },
            "spec": { "replicas": 3, "selector": {}, "serviceName": "", "template": {} },
            "status": status,
        });
        let seen = observe(&Objects { sets: vec![parsed(set)], ..Objects::default() }, now());
        seen.servers.values().all(ObservedServers::lacks_pods)
    };
    assert!(lacks(json!({ "observedGeneration": 2, "replicas": 2 })));
    assert!(!lacks(json!({ "observedGeneration": 2, "replicas": 3 })));
    assert!(!lacks(json!({ "observedGeneration": 1, "replicas": 2 })), "it hasn't seen the number");
    assert!(!lacks(Value::Null), "it hasn't said anything");
}

#[test]
fn a_deployment_tells_why_its_pods_can_not_be_made() {
    let failure = |status: &str| {
        let condition = json!({
            "type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": "exceeded quota",
        });
        let deployment = json!({
            "metadata": { "name": "demo-manager" },
            "spec": { "selector": {}, "template": {} },
            "status": { "conditions": [condition] },
        });
        observe(&Objects { deployments: vec![parsed(deployment)], ..Objects::default() }, now()).forbidden
    };
    assert_eq!(failure("True"), ["demo-manager: exceeded quota"]);
    assert_eq!(failure("False"), [""; 0]);
}
