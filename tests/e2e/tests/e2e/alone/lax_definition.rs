//! Resources that an API server admitted and shouldn't have.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, LogParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;
use skv_e2e::{OPERATOR_NAMESPACE, Store, eventually, in_namespace, install_operator};

const DEFINITION: &str = "shardedkvs.shardedkv.io";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn what_got_past_the_api_server_gets_a_condition_and_blocks_nobody() {
    in_namespace("slipped", |namespace| async move {
        install_operator(&namespace.cluster).await;
        drop_the_rules(&namespace.cluster.client).await;

        let bad = Store::existing(&namespace, "kv");
        let unreadable = Store::existing(&namespace, "unreadable");
        eventually("the definition lets everything in", || async {
            bad.apply(json!({ "replicas": 2 })).await.is_ok().then_some(())
        })
        .await;
        unreadable.apply(json!({ "replicas": "three" })).await.expect("everything is let in");
        let resource = bad.says("Valid", "Invalid").await;
        assert!(
            resource["status"]["summary"].as_str().unwrap_or_default().contains("odd number"),
            "{resource}"
        );
        unreadable.says("Valid", "Unreadable").await;
        let events: Api<DynamicObject> = Api::namespaced_with(
            namespace.cluster.client.clone(),
            &namespace.name,
            &ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event")),
        );
        eventually("Events tell of both", || async {
            let events = events.list(&ListParams::default()).await.ok()?.items;
            let reasons: Vec<&str> =
                events.iter().filter_map(|event| event.data["reason"].as_str()).collect();
            (reasons.contains(&"Invalid") && reasons.contains(&"Unreadable")).then_some(())
        })
        .await;
        for store in [&bad, &unreadable] {
            store
                .api()
                .delete(&store.name, &kube::api::DeleteParams::default())
                .await
                .expect("it can be deleted");
        }
        // This puts the rules back. Other resources are served all the while.
        install_operator(&namespace.cluster).await;
        eventually("the rules hold again", || async {
            bad.apply(json!({ "replicas": 2 })).await.is_err().then_some(())
        })
        .await;
        Store::create(&namespace, json!({ "groups": 1, "replicas": 1 })).await;

        assert_no_hot_loop(&namespace.cluster.client).await;
    })
    .await;
}

/// Replaces the definition by one without rules, as an older one might be.
async fn drop_the_rules(client: &Client) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
    ));
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let mut lax = definitions.get(DEFINITION).await.expect("the definition is there");
    let schema = &mut lax.data["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    *schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    lax.metadata.managed_fields = None;
    definitions.replace(DEFINITION, &PostParams::default(), &lax).await.expect("it can be replaced");
}

/// Asserts that the operators' logs have no panic, and tell of the unreadable resource a few times at most.
async fn assert_no_hot_loop(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    for pod in pods.list(&ListParams::default()).await.expect("pods can be listed").items {
        let name = pod.metadata.name.unwrap_or_default();
        let log = pods.logs(&name, &LogParams::default()).await.unwrap_or_default();
        assert!(!log.contains("panicked"), "{log}");
        let told = log.lines().filter(|line| line.contains("unreadable")).count();
        assert!(told <= 3, "no hot loop: {log}");
    }
}
