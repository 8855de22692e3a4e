//! Resources that can't be used, or not in full: what runs is cared for by the last valid specification.

use super::*;

/// Returns an operator with a store of one group, as the API server has it after some passes.
async fn running() -> Operator {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    operator.server.requests();
    operator
}

/// Has somebody break an object, and expects that the next pass puts it right and writes the status.
async fn still_cared_for(operator: &mut Operator) {
    let mut set = operator.server.get(SET).unwrap();
    set["spec"]["updateStrategy"]["type"] = json!("RollingUpdate");
    operator.server.put(SET, set);
    operator.server.remove(BUDGET);
    let action = operator.pass().await.unwrap();
    assert_ne!(action, Action::await_change(), "it is looked at again");
    assert_eq!(operator.server.get(SET).unwrap()["spec"]["updateStrategy"]["type"], "OnDelete");
    assert!(operator.server.get(BUDGET).is_some());
}

#[tokio::test]
async fn what_runs_is_cared_for_while_the_specification_is_invalid() {
    let mut operator = running().await;
    operator.set_spec(json!({ "groups": 1, "replicas": 2 }));
    still_cared_for(&mut operator).await;
    assert_eq!(operator.server.get(SET).unwrap()["spec"]["replicas"], 3, "the last valid number");
    assert_eq!(operator.condition("Valid")["reason"], "Invalid");
    assert_eq!(operator.condition("Stalled")["status"], "True");
    assert_eq!(operator.condition("Progressing")["reason"], "Starting", "its state is told all the same");
    operator.pass().await.unwrap();
    operator.server.requests();
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [""; 0], "no hot loop");
    operator.set_spec(json!({ "groups": 1, "disruptionBudget": { "enabled": false } }));
    operator.pass().await.unwrap();
    assert_eq!(operator.condition("Valid")["status"], "True");
    assert_eq!(operator.server.get(BUDGET), None);
}

#[tokio::test]
async fn what_runs_is_cared_for_while_the_resource_can_not_be_read() {
    let mut operator = running().await;
    operator.set_spec(json!({ "groups": 1, "hash": "of a newer version" }));
    still_cared_for(&mut operator).await;
    assert_eq!(operator.condition("Valid")["reason"], "Unreadable");
    let spec = operator.server.get(RESOURCE).unwrap()["spec"].clone();
    assert_eq!(spec, json!({ "groups": 1, "hash": "of a newer version" }), "it is nobody's to change");
}

#[tokio::test]
async fn what_runs_is_cared_for_while_a_part_of_the_status_can_not_be_read() {
    for field in ["founded", "replaced", "replacing"] {
        let mut operator = running().await;
        let newer = json!([{ "of": "a newer version" }]);
        operator.change_status(|status| status[field] = newer.clone());
        still_cared_for(&mut operator).await;
        let valid = operator.condition("Valid");
        assert_eq!((&valid["status"], &valid["reason"]), (&json!("True"), &json!("UnknownFields")));
        let message = valid["message"].as_str().unwrap();
        assert!(message.ends_with(&format!(": status.{field}")), "{message}");
        operator.pass().await.unwrap();
        operator.server.requests();
        operator.pass().await.unwrap();
        assert_eq!(operator.server.requests(), [""; 0], "a steady state");
        let status = operator.server.get(RESOURCE).unwrap()["status"].take();
        assert_eq!(status[field], newer, "it is nobody's to change");
    }
}

#[tokio::test]
async fn what_the_operator_sees_again_takes_the_place_of_what_can_not_be_read() {
    for field in ["groups", "ready"] {
        let mut operator = running().await;
        let status = |operator: &Operator| operator.server.get(RESOURCE).unwrap()["status"].take();
        let before = status(&operator);
        operator.change_status(|status| status[field] = json!([{ "of": "a newer version" }]));
        operator.pass().await.unwrap();
        operator.pass().await.unwrap();
        assert_eq!(status(&operator), before);
    }
}

#[tokio::test]
async fn what_can_not_change_is_refused_also_while_the_record_of_it_can_not_be_read() {
    let mut operator = running().await;
    operator.change_status(|status| status["founded"] = json!([{ "of": "a newer version" }]));
    operator.set_spec(json!({ "groups": 1, "placement": "ring", "shards": 1, "replicas": 1 }));
    still_cared_for(&mut operator).await;
    let valid = operator.condition("Valid");
    assert_eq!(valid["reason"], "Invalid");
    let message = valid["message"].as_str().unwrap();
    assert!(message.contains("spec.placement: is fixed for the life of the resource"), "{message}");
}

#[tokio::test]
async fn no_server_is_evicted_while_what_that_rests_on_can_not_be_read() {
    for field in ["founded", "replacing"] {
        let mut operator = losses::with_servers(losses::THREE).await;
        operator.pass().await.unwrap();
        operator.change_status(|status| status[field] = json!([{ "of": "a newer version" }]));
        let mut spec = operator.server.get(RESOURCE).unwrap()["spec"].take();
        spec["server"] = json!({ "workerThreads": 2 });
        operator.set_spec(spec);
        let mut end = Action::await_change();
        for _ in 0..3 {
            end = operator.pass().await.unwrap();
        }
        let is_evicted =
            |operator: &Operator| operator.writes().iter().any(|write| write.ends_with("/eviction"));
        assert!(!is_evicted(&operator), "{field}");
        let told = "replacing demo-g0-2 has to wait: this version of the operator can't read status.";
        assert_eq!(operator.condition("Progressing")["message"], format!("{told}{field}"));
        assert_eq!(end, Action::requeue(LOOK_AGAIN), "nothing changes soon");
        operator.change_status(|status| {
            status.as_object_mut().unwrap().remove(field);
        });
        operator.pass().await.unwrap();
        assert!(is_evicted(&operator), "{field}");
    }
}

#[tokio::test]
async fn a_pause_is_heeded_whatever_else_is_wrong() {
    let mut operator = running().await;
    operator.set_spec(json!({ "groups": 1, "replicas": 2, "paused": true }));
    operator.server.remove(BUDGET);
    operator.pass().await.unwrap();
    assert_eq!(operator.server.get(BUDGET), None);
    assert_eq!(operator.condition("Progressing")["reason"], "Paused");
    operator.set_spec(json!({ "groups": 1, "replicas": 2 }));
    operator.pass().await.unwrap();
    assert!(operator.server.get(BUDGET).is_some(), "the pause is over");
}

#[tokio::test]
async fn fields_of_a_newer_definition_are_passed_over_and_named() {
    let mut operator = running().await;
    let budget = json!({ "enabled": false });
    let newer =
        json!({ "groups": 1, "disruptionBudget": budget, "encryption": {}, "storage": { "tier": "hot" } });
    operator.set_spec(newer);
    operator.pass().await.unwrap();
    let valid = operator.condition("Valid");
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("True"), &json!("UnknownFields")));
    let message = valid["message"].as_str().unwrap();
    assert!(message.ends_with("spec.encryption, spec.storage.tier"), "{message}");
    assert_eq!(operator.server.get(BUDGET), None, "the rest is carried out");
    operator.pass().await.unwrap();
    operator.server.requests();
    operator.pass().await.unwrap();
    assert_eq!(operator.server.requests(), [""; 0], "a steady state");
}

#[tokio::test]
async fn pods_that_a_quota_forbids_are_told_with_the_reason() {
    let mut operator = running().await;
    let mut set = operator.server.get(SET).unwrap();
    set["status"] = json!({ "replicas": 2 });
    operator.server.put(SET, set);
    let refusal = "create Pod demo-g0-2 in StatefulSet demo-g0 failed error: exceeded quota: small";
    let now = (operator.context.clock)().to_string();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "prod" },
        "involvedObject": {}, "reason": "FailedCreate", "message": refusal, "lastTimestamp": now,
    });
    operator.server.put("/api/v1/namespaces/prod/events/e", event);
    operator.pass().await.unwrap();
    let degraded = operator.condition("Degraded");
    assert_eq!((&degraded["reason"], &degraded["message"]), (&json!("PodsForbidden"), &json!(refusal)));
    let events = "GET /api/v1/namespaces/prod/events";
    assert!(operator.server.requests().iter().any(|request| request == events));

    let mut set = operator.server.get(SET).unwrap();
    set["status"] = json!({ "replicas": 3 });
    operator.server.put(SET, set);
    operator.pass().await.unwrap();
    assert_eq!(operator.condition("Degraded")["reason"], "ReplicasNotReady", "none of its pods runs yet");
    assert!(!operator.server.requests().iter().any(|request| request == events), "nothing is missing");
}

#[tokio::test]
async fn a_resource_that_finds_a_store_of_another_form_says_so_and_touches_nothing() {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    let record = json!({
        "hash": "fnv1", "policy": "minimal", "owners": [{ "group": 0, "epoch": 1, "shards": "0-11" }],
        "limits": {
            "max_key_bytes": 4096, "max_value_bytes": 1_048_576, "max_sessions_per_shard": 16_384,
            "session_ttl_ms": 600_000,
        },
    });
    let labels = json!({
        "app.kubernetes.io/instance": "demo", "app.kubernetes.io/managed-by": "skv-operator",
    });
    let map = json!({
        "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardMap", "record": record,
        "metadata": { "name": "demo", "namespace": "prod", "labels": labels },
    });
    operator.server.put("/apis/shardedkv.io/v1alpha1/namespaces/prod/shardmaps/demo", map);
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [format!("PUT {RESOURCE}/status")]);
    let message = operator.condition("Valid")["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("spec.shards: ") && message.contains("has 12"), "{message}");
    operator.set_spec(json!({ "groups": 1, "shards": 12 }));
    operator.pass().await.unwrap();
    assert_eq!(operator.condition("Valid")["status"], "True");
}
