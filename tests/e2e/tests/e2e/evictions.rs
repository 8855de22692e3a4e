//! Evictions by others than the operator.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::EvictParams;
use serde_json::json;
use skv_e2e::{Load, Store, Watch, eventually, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn of_two_who_evict_servers_one_waits() {
    in_namespace("evictions", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 4, 4);
        let watch = Watch::start(&store, 3);
        // While the operator replaces all servers, a person evicts any that is ready.
        store.change(json!({ "server": { "resources": { "requests": { "memory": "40Mi" } } } })).await;
        store.says("Progressing", "Changing").await;
        let pods: Api<Pod> = Api::namespaced(namespace.cluster.impatient.clone(), &namespace.name);
        eventually("the person has to wait", || async {
            let ready = namespace.ready_pods_now(&store.servers_label()).await?;
            let server = ready.first()?.metadata.name.clone()?;
            let evicted = pods.evict(&server, &EvictParams::default()).await;
            matches!(&evicted, Err(kube::Error::Api(status)) if status.code == 429).then_some(())
        })
        .await;
        store.complete().await;
        assert_eq!(watch.most_away(), 1, "neither took a second one");
        load.finish_right(&store).await;
    })
    .await;
}
