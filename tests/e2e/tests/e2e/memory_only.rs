//! Servers without disks: each comes back empty, as a new replica.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use serde_json::json;
use skv_e2e::{Load, Store, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_store_in_memory_is_rolled_under_load_and_loses_nothing() {
    in_namespace("memory-only", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let spec = json!({ "groups": 1, "storage": { "memoryOnly": true } });
        let store = Store::create(&namespace, spec).await;
        let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
        assert_eq!(claims.expect("claims can be listed").items.len(), 0);
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;
        let before = store.pods(0).await;
        store.change(json!({ "server": { "resources": { "requests": { "cpu": "60m" } } } })).await;
        store.complete().await;
        let after = store.pods(0).await;
        assert!(before.iter().all(|(name, pod)| after[name].metadata.uid != pod.metadata.uid));
        load.recorder.more_acknowledged(50).await;
        load.finish_right(&store).await;
    })
    .await;
}
