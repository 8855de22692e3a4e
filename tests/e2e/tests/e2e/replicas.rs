//! The number of replicas changes by Raft membership.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use serde_json::json;
use skv_e2e::{Load, Store, eventually, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn three_replicas_become_five_and_three_again_under_load() {
    in_namespace("replicas", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let spec = json!({
            "groups": 1,
            "storage": { "size": "256Mi", "whenScaled": "Delete" },
        });
        let store = Store::create(&namespace, spec).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;
        store.change(json!({ "replicas": 5 })).await;
        assert_eq!(store.complete().await["status"]["ready"], "5/5");
        load.recorder.more_acknowledged(50).await;
        store.change(json!({ "replicas": 3 })).await;
        assert_eq!(store.complete().await["status"]["ready"], "3/3");
        assert_eq!(store.pods(0).await.len(), 3);
        eventually("the volumes of those that left are gone", || async {
            let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.ok()?;
            (claims.items.len() == 3).then_some(())
        })
        .await;
        load.finish_right(&store).await;
    })
    .await;
}
