//! Two operators, of which one acts.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use skv_e2e::{OPERATOR_NAMESPACE, Store, eventually, in_namespace, install_operator, is_ready};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_other_operator_finishes_what_the_first_began() {
    in_namespace("operators", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let client = namespace.cluster.client.clone();
        let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let leases: Api<Lease> = Api::namespaced(client, OPERATOR_NAMESPACE);
        let holder = || async {
            let name = leases.get("skv-operator").await.ok()?.spec?.holder_identity?;
            pods.get_opt(&name).await.ok()?.filter(is_ready).map(|_| name)
        };
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let first = eventually("an operator holds the Lease", holder).await;

        store.change(json!({ "server": { "resources": { "requests": { "memory": "40Mi" } } } })).await;
        eventually("a pod is being replaced", || async {
            let replacing = store.get().await["status"]["replacing"]["pod"].clone();
            replacing.is_string().then_some(())
        })
        .await;
        // It is deleted without grace, so that it can't give its Lease up.
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(&first, &now).await.expect("a pod can be deleted");
        store.complete().await;
        let second = eventually("another operator holds the Lease", || async {
            holder().await.filter(|name| *name != first)
        })
        .await;
        assert_ne!(first, second);
        for (name, pod) in store.pods(0).await {
            let requests = pod.spec.and_then(|spec| spec.containers[0].resources.clone()?.requests);
            assert_eq!(requests.expect("requests")["memory"].0, "40Mi", "{name}");
        }
    })
    .await;
}
