//! Requests that the API server refuses, beside a rollout.

use super::*;

/// Makes some passes, each of which fails; returns the pods that were evicted.
async fn evictions_of_failing_passes(scene: &mut Scene) -> Vec<String> {
    let mut evicted = Vec::new();
    for _ in 0..4 {
        scene.operator.server.requests();
        scene.operator.pass().await.unwrap_err();
        evicted.extend(scene.evicted());
    }
    assert_eq!(scene.operator.condition("Progressing")["reason"], "ApplyFailed");
    assert_eq!(scene.operator.condition("Ready")["status"], "False");
    evicted
}

#[tokio::test]
async fn a_server_that_works_stays_while_the_shard_manager_can_not_be_updated() {
    let mut scene = Scene::running(1, "Retain").await;
    scene.change("image", json!({ "name": "shardedkv:next" }));
    scene.operator.server.refuse("/deployments/demo-manager", 403);
    assert_eq!(evictions_of_failing_passes(&mut scene).await, [""; 0]);
    scene.operator.server.stop_refusing();
    scene.pass().await;
    assert_eq!(scene.evictions().await, ["demo-g0-0"]);
}

#[tokio::test]
async fn a_rollout_goes_on_while_only_clients_lack_an_object() {
    let mut scene = Scene::running(1, "Retain").await;
    scene.change("image", json!({ "name": "shardedkv:next" }));
    scene.change("service", json!({ "annotations": { "pool": "public" } }));
    scene.operator.server.refuse("/services/demo", 403);
    assert_eq!(evictions_of_failing_passes(&mut scene).await, ["demo-g0-0"]);
}

#[tokio::test]
async fn a_store_whose_objects_can_not_be_read_is_not_ready() {
    let mut scene = Scene::running(1, "Retain").await;
    assert_eq!(scene.operator.condition("Ready")["status"], "True");
    scene.change("image", json!({ "name": "shardedkv:next" }));
    scene.operator.server.refuse("/statefulsets", 403);
    let error = scene.operator.pass().await.unwrap_err();
    assert_eq!(scene.operator.writes(), [format!("PUT {RESOURCE}/status")]);
    let ready = scene.operator.condition("Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ApplyFailed")));
    assert_eq!(ready["message"], error.to_string());
    scene.operator.server.stop_refusing();
    scene.pass().await;
    assert_eq!(scene.operator.condition("Progressing")["reason"], "Changing");
}

#[tokio::test]
async fn a_look_that_fails_once_is_tried_again_before_anybody_is_told() {
    let mut scene = Scene::running(1, "Retain").await;
    scene.change("image", json!({ "name": "shardedkv:next" }));
    scene.operator.server.refuse("/statefulsets", 500);
    scene.operator.pass().await.unwrap_err();
    let requests = scene.operator.server.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET")), "{requests:?}");
    assert_eq!(scene.operator.condition("Ready")["status"], "True");
    scene.operator.pass().await.unwrap_err();
    let ready = scene.operator.condition("Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Retrying")));
}
