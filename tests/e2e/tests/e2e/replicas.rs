//! The number of replicas changes by Raft membership.

use serde_json::json;
use skv_e2e::{Load, Store, assert_linearizable, assert_none_failed, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn three_replicas_become_five_and_three_again_under_load() {
    in_namespace("replicas", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;
        store.change(json!({ "replicas": 5 })).await;
        assert_eq!(store.complete().await["status"]["ready"], "5/5");
        load.recorder.more_acknowledged(50).await;
        store.change(json!({ "replicas": 3 })).await;
        assert_eq!(store.complete().await["status"]["ready"], "3/3");
        assert_eq!(store.pods(0).await.len(), 3);
        let events = load.finish(&store).await;
        assert_none_failed(&events);
        assert_linearizable(&events);
    })
    .await;
}
