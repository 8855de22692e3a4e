//! Pods that a namespace doesn't allow.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use skv_e2e::{Store, condition, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_quota_that_forbids_pods_is_said_in_its_own_words_until_it_is_lifted() {
    in_namespace("quota", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let quotas: Api<ResourceQuota> = namespace.api();
        let none = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } },
        });
        let none = serde_json::from_value(none).expect("a quota");
        quotas.create(&PostParams::default(), &none).await.expect("a quota can be made");

        let store = Store::existing(&namespace, "kv");
        let spec = json!({
            "groups": 1, "replicas": 1, "shards": 12,
            "image": { "name": namespace.cluster.image }, "storage": { "size": "256Mi" },
        });
        store.apply(spec).await.expect("the resource is valid");
        let resource = store.says("Degraded", "PodsForbidden").await;
        let said = message(&resource, "Degraded");
        assert!(said.contains("exceeded quota: none"), "{said}");
        assert_eq!(condition(&resource, "Stalled"), Some(("True", "PodsForbidden")));

        quotas.delete("none", &DeleteParams::default()).await.expect("a quota can be deleted");
        store.complete().await;
    })
    .await;
}

fn message<'a>(resource: &'a Value, type_: &str) -> &'a str {
    let mut conditions = resource["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}
