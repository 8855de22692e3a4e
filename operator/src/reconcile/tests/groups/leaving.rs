//! Groups that leave beside another change: a rollout, a group without a leader, a pod that doesn't come up.

use super::*;

#[tokio::test]
async fn a_leaving_group_without_a_leader_is_kept() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("groups", json!(2));
    scene.pass().await;
    scene.lose_leader(2);
    scene.calls();
    for _ in 0..3 {
        scene.pass().await;
    }
    let waits = "Moving: 8 of 12 shards are on their way; g2 is to leave, but no leader of it has a quorum";
    assert_eq!(scene.progress(), waits);
    assert_eq!(scene.calls(), [""; 0]);
    assert_eq!(scene.set(2).unwrap()["spec"]["replicas"], 1);
}

#[tokio::test]
async fn a_rollout_goes_on_beside_a_leaving_group_without_a_leader_and_leaves_that_alone() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("groups", json!(2));
    scene.pass().await;
    scene.lose_leader(2);
    scene.world.0.lock().silent = true;
    scene.change("image", json!({ "name": "shardedkv:next" }));
    for _ in 0..4 {
        assert_eq!(scene.evictions().await, [""; 0], "nobody says that it shares no shards");
    }
    assert_eq!(
        scene.progress(),
        format!("Changing: {WITHOUT_LEADER}; one of g0, g1, g2 is to leave: waiting for the shard manager")
    );
    scene.world.0.lock().silent = false;
    let mut evicted = Vec::new();
    for _ in 0..8 {
        evicted.extend(scene.evictions().await);
    }
    assert_eq!(evicted, ["demo-g0-0", "demo-g1-0"]);
    assert_eq!(
        scene.progress(),
        format!(
            "Changing: {WITHOUT_LEADER}; 8 of 12 shards are on their way; g2 is to leave, but no leader of \
             it has a quorum"
        )
    );
}

#[tokio::test]
async fn a_group_leaves_during_a_rollout_and_both_come_to_their_end() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("image", json!({ "name": "shardedkv:next" }));
    scene.pass().await;
    assert_eq!(scene.evictions().await, ["demo-g0-0"]);
    scene.change("groups", json!(2));
    let mut evicted = scene.evictions().await;
    assert_eq!(scene.calls(), [format!("leave g2 at {MANAGER}")]);
    for _ in 0..20 {
        let now = scene.evictions().await;
        assert!(now.len() <= 1, "{now:?}");
        evicted.extend(now);
        scene.settle();
        if scene.world.0.lock().retired.contains(&2) {
            scene.forget(2);
        }
    }
    assert_eq!(scene.progress(), "Complete: Everything is as the specification says");
    assert!(evicted.contains(&"demo-g1-0".to_owned()), "{evicted:?}");
    assert_eq!(evicted.len(), evicted.iter().collect::<BTreeSet<_>>().len(), "{evicted:?}");
    assert!(scene.set(2).is_none());
    assert_eq!(scene.calls(), ["retire g2 102 at 10.0.2.0:7001"]);
}

#[tokio::test]
async fn a_pod_that_can_not_be_replaced_keeps_no_group_from_leaving() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("image", json!({ "name": "shardedkv:next" }));
    scene.pass().await;
    scene.change("groups", json!(2));
    scene.operator.server.refuse("/eviction", 403);
    // The shard manager is told the number of groups; a pass that changes it replaces no pod.
    scene.pass().await;
    assert_eq!(scene.calls(), [format!("leave g2 at {MANAGER}")]);
    let error = scene.operator.pass().await.unwrap_err();
    assert!(error.to_string().contains("Pod demo-g0-0"), "{error}");
    assert_eq!(scene.operator.condition("Progressing")["reason"], "ApplyFailed");
}

#[tokio::test]
async fn a_founded_group_whose_servers_are_gone_gets_them_again_and_then_leaves() {
    let mut scene = Scene::running(3, "Delete").await;
    // The state is that after the resource was deleted and made again: its map and its volumes were kept.
    scene.operator.server.remove("/apis/apps/v1/namespaces/prod/statefulsets/demo-g2");
    scene.run_pods();
    scene.change("groups", json!(2));
    scene.pass().await;
    assert_eq!(scene.calls(), [format!("leave g2 at {MANAGER}")]);
    assert_eq!(scene.set(2).unwrap()["spec"]["replicas"], 1);
    let available = scene.operator.condition("Available");
    assert_eq!(available["message"], "no majority is ready of g2", "it has shards");
    let resource = scene.operator.server.get(RESOURCE).unwrap();
    let third = &resource["status"]["groups"][2];
    assert_eq!(
        (&third["name"], &third["replicas"], &third["readyReplicas"]),
        (&json!("g2"), &json!(1), &json!(0))
    );
    scene.run_pods();
    scene.pass().await;
    scene.settle();
    scene.pass().await;
    assert_eq!(scene.calls(), ["retire g2 102 at 10.0.2.0:7001"]);
}
