//! A rollout that can't start stops at its first pod, and is mended by the specification alone.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::json;
use skv_e2e::{Load, Namespace, Store, eventually, in_namespace, install_operator, is_ready};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn an_image_that_does_not_exist_affects_one_pod() {
    in_namespace("broken", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 2, 2);

        // The shard manager's new pod comes before any server's.
        store.change(json!({ "image": { "name": "docker.io/library/shardedkv:missing" } })).await;
        let resource = store.says("Degraded", "PodsNotRunning").await;
        let summary = resource["status"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("kv-manager-") && summary.contains("missing"), "{summary}");
        assert_eq!(not_ready(&namespace).await.len(), 1);
        store.change(json!({ "image": { "name": namespace.cluster.next_image } })).await;
        store.complete().await;

        // Only servers can't start with this; then more of them are added.
        store.change(json!({ "server": { "resources": { "requests": { "memory": "64Ti" } } } })).await;
        let resource = store.says("Degraded", "PodsNotRunning").await;
        let summary = resource["status"]["summary"].as_str().unwrap_or_default();
        // The pod is a follower: its number depends on the leader.
        let [first] = &not_ready(&namespace).await[..] else { panic!("not one server: {summary}") };
        assert!(summary.contains(first) && summary.contains("Insufficient memory"), "{summary}");
        load.recorder.more_acknowledged(50).await;
        store.change(json!({ "replicas": 5 })).await;
        eventually("the additional servers wait too", || async {
            (not_ready(&namespace).await == [first, "kv-g0-3", "kv-g0-4"]).then_some(())
        })
        .await;
        load.recorder.more_acknowledged(50).await;
        store.change(json!({ "server": { "resources": null } })).await;
        let resource = store.complete().await;
        assert_eq!(resource["status"]["ready"], "5/5");

        load.finish_right(&store).await;
    })
    .await;
}

async fn not_ready(namespace: &Namespace) -> Vec<String> {
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods can be listed").items;
    let names = pods.into_iter().filter(|pod| !is_ready(pod)).filter_map(|pod| pod.metadata.name);
    names.collect()
}
