//! Nodes are drained, cut off and lost.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use skv_e2e::{Load, Node, Store, eventually, eventually_within, in_namespace, install_operator, is_ready};
use tokio::time::sleep;

/// The time without network: longer than Kubernetes' own patience, than elections, and than a call is tried.
const CUT_OFF: Duration = Duration::from_mins(1);
/// The time limit until a replica is back elsewhere, far more than it needs.
const REPLACED: Duration = Duration::from_mins(2);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn every_node_is_drained_in_turn_and_no_call_fails() {
    in_namespace("drain", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 4, 4);
        for server in store.pods(0).await.into_keys() {
            let node = Node::new(&namespace, &store.node_of(0, &server).await);
            node.drain().await;
            load.recorder.more_acknowledged(50).await;
            node.uncordon().await;
            namespace.ready_pods(&store.servers_label(), 3).await;
        }
        store.complete().await;

        load.finish_right(&store).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_node_that_was_cut_off_comes_back_and_one_that_is_lost_is_replaced() {
    if !Node::can_be_cut() {
        eprintln!(
            "*** SKIPPED: nodes can be cut off only in clusters that `cargo xtask kube` makes of this machine"
        );
        return;
    }
    in_namespace("cut", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let node = Node::new(&namespace, &store.node_of(0, &leader).await);
        node.cut().await;
        load.recorder.more_acknowledged(50).await;
        sleep(CUT_OFF).await;
        load.recorder.more_acknowledged(50).await;
        node.join().await;
        namespace.ready_pods(&store.servers_label(), 3).await;

        // This other node never comes back, nor does its disk.
        let lost = store.pods(0).await.into_keys().find(|server| *server != leader).expect("a server");
        let node = Node::new(&namespace, &store.node_of(0, &lost).await);
        node.cut().await;
        let claims = namespace.api::<PersistentVolumeClaim>();
        claims
            .delete(&format!("data-{lost}"), &DeleteParams::default())
            .await
            .expect("a claim can be deleted");
        namespace.api::<Pod>().delete(&lost, &DeleteParams::default()).await.expect("a pod can be deleted");
        eventually_within(REPLACED, "the lost replica is back elsewhere", || async {
            let pod = store.pods(0).await.remove(&lost)?;
            let elsewhere = pod.spec.as_ref()?.node_name.as_ref()? != &node.name;
            (elsewhere && is_ready(&pod)).then_some(())
        })
        .await;
        load.recorder.more_acknowledged(50).await;
        node.join().await;
        store.complete().await;

        load.finish_right(&store).await;
        eventually("all replicas hold the same", || async {
            let group = store.group_status(0).await?;
            let replicas = group["replicas"].as_array()?;
            let held = |replica: &Value| {
                [&replica["applied_index"], &replica["keys"], &replica["bytes"]].map(Value::clone)
            };
            (replicas.len() == 3 && replicas.iter().all(|r| held(r) == held(&replicas[0]))).then_some(())
        })
        .await;
    })
    .await;
}
