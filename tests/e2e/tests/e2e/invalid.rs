//! Invalid resources are refused by the API server.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use skv_e2e::{Store, in_namespace, install_operator};

fn wrong() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "replicas": 2 }), "odd number"),
        (json!({ "replicas": 9 }), "spec.replicas"),
        (json!({ "groups": 0 }), "spec.groups"),
        (json!({ "shards": 4, "groups": 5 }), "each group needs at least one shard"),
        (json!({ "shards": 10_001 }), "spec.shards"),
        (json!({ "hash": "md5" }), "spec.hash"),
        (json!({ "policy": "even" }), "spec.policy"),
        (json!({ "policy": "modulo", "groups": 7 }), "divides the number of shards"),
        (json!({ "placement": "ring" }), "a ring has one group for each shard"),
        (
            json!({ "placement": "ring", "groups": 3, "shards": 3, "replicas": 4 }),
            "no more replicas of a group than servers",
        ),
        (json!({ "storage": { "size": "1Mi" } }), "at least 256Mi"),
        (json!({ "storage": { "size": "lots" } }), "spec.storage.size"),
        (json!({ "storage": { "memoryOnly": true, "className": "fast" } }), "no meaning with memoryOnly"),
        (json!({ "ports": { "client": 7001, "peer": 7001 } }), "must differ"),
        (json!({ "tuning": { "heartbeatMs": 100, "electionTimeoutMs": 200 } }), "three heartbeats"),
        (json!({ "limits": { "maxKeyBytes": 0 } }), "spec.limits.maxKeyBytes"),
        (json!({ "shardManager": { "replicas": 9 } }), "spec.shardManager.replicas"),
        (json!({ "image": { "name": "" } }), "spec.image.name"),
    ]
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn what_can_not_be_is_refused_with_its_reason() {
    in_namespace("invalid", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::existing(&namespace, "kv");
        for (spec, reason) in wrong() {
            let refused = store.apply(spec.clone()).await.expect_err(&spec.to_string()).to_string();
            assert!(refused.contains(reason), "{spec}: {refused}");
        }
        // These fields are fixed for life.
        store.apply(json!({ "paused": true })).await.expect("it is valid");
        for spec in [
            json!({ "shards": 480 }),
            json!({ "hash": "fnv1a" }),
            json!({ "policy": "modulo" }),
            json!({ "storage": { "className": "other" } }),
            json!({ "storage": { "memoryOnly": true } }),
            json!({ "storage": { "size": "1Gi" } }),
            json!({ "limits": { "maxKeyBytes": 99 } }),
        ] {
            let patch = Patch::Merge(json!({ "spec": spec }));
            let refused = store.api().patch("kv", &PatchParams::default(), &patch).await;
            assert!(refused.is_err(), "{spec}");
        }
    })
    .await;
}
