//! Nodes that are emptied ahead of a drain, and nodes that are deleted with the volumes that only they have.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use skv_e2e::{
    Load, Namespace, Node, Store, eventually, eventually_within, in_namespace, install_operator, is_ready,
};

/// The time limit until a replica is back elsewhere: Kubernetes alone takes a minute or two to give its pod up.
const REPLACED: Duration = Duration::from_mins(6);
const GROUPS: u32 = 3;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_replica_whose_node_was_deleted_is_replaced_by_itself() {
    in_namespace("lost", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let replacement = json!({ "afterSeconds": 5, "maxPerHour": 1 });
        let store = Store::create(&namespace, json!({ "groups": 1, "replacement": replacement })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let lost = store.pods(0).await.into_keys().find(|server| *server != leader).expect("a server");
        let volume = volume_of(&namespace, &lost).await;
        let node = Node::new(&namespace, &store.node_of(0, &lost).await);
        let deleted = node.delete().await;
        eventually_within(REPLACED, "the lost replica is back elsewhere", || async {
            let pod = store.pods(0).await.remove(&lost)?;
            let elsewhere = pod.spec.as_ref()?.node_name.as_ref()? != &node.name;
            (elsewhere && is_ready(&pod)).then_some(())
        })
        .await;
        load.recorder.more_acknowledged(50).await;
        let status = store.get().await["status"].take();
        let replaced = status["replaced"].as_array().map_or(0, Vec::len);
        assert_eq!((replaced, &status["replaced"][0]["server"]), (1, &json!(lost)), "{status:#}");
        let volumes: Api<PersistentVolume> = Api::all(namespace.cluster.client.clone());
        let kept = volumes.get(&volume).await.expect("its volume is kept").spec.expect("a specification");
        assert_eq!(kept.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));

        node.add(deleted).await;
        volumes.delete(&volume, &DeleteParams::default()).await.expect("a volume can be deleted");
        store.complete().await;
        load.finish_right(&store).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn leaders_leave_a_node_that_is_cordoned_and_its_drain_fails_no_call() {
    in_namespace("cordon", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": GROUPS })).await;
        store.says("Spread", "Apart").await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let node = Node::new(&namespace, &store.node_of(0, &leader).await);
        node.cordon().await;
        for group in 0..GROUPS {
            eventually(&format!("the leader of g{group} is elsewhere"), || async {
                let leader = store.leader(group as usize).await;
                let pod = store.pods(group).await.remove(&leader)?;
                (pod.spec?.node_name? != node.name).then_some(())
            })
            .await;
        }
        node.drain().await;
        load.recorder.more_acknowledged(50).await;
        node.uncordon().await;
        store.complete().await;

        let events = load.finish_right(&store).await;
        let slowest = events.iter().filter_map(|event| event.return_ns?.checked_sub(event.call_ns)).max();
        println!("the slowest of {} calls took {:?}", events.len(), slowest.map(Duration::from_nanos));
    })
    .await;
}

/// Returns the name of the volume of a server.
async fn volume_of(namespace: &Namespace, server: &str) -> String {
    let claims = namespace.api::<PersistentVolumeClaim>();
    let claim = claims.get(&format!("data-{server}")).await.expect("a server has a claim");
    claim.spec.and_then(|spec| spec.volume_name).expect("a server's claim has a volume")
}
