//! A ring: one StatefulSet whose servers hold the replicas of all groups.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use serde_json::json;
use skv_e2e::{Load, Store, Watch, eventually, in_namespace, in_project, install_operator};

use super::deletion::{count, delete, left};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_sample_serves_is_updated_one_server_at_a_time_and_leaves_only_its_volumes() {
    in_namespace("ring", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let applied = namespace.kubectl(&["apply", "-f", &in_project("deploy/samples/lab-ring.yaml")]).await;
        assert!(applied.succeeded, "{applied:?}");
        let store = Store::existing(&namespace, "lab-ring");
        let resource = store.complete().await;
        assert_eq!(
            (&resource["status"]["ready"], &resource["status"]["shards"]),
            (&json!("5/5"), &json!("5/5"))
        );
        assert_eq!(resource["status"]["groupCount"], 5);
        let sets = namespace.api::<StatefulSet>().list(&ListParams::default()).await.expect("a list").items;
        let sizes: Vec<_> = sets.iter().map(|set| set.spec.as_ref().and_then(|spec| spec.replicas)).collect();
        assert_eq!(sizes, [Some(5)]);
        // One is that of the shard managers.
        assert_eq!(count::<PodDisruptionBudget>(&namespace).await, 2);
        servers_hold_their_groups(&store).await;

        // Any server accepts any key, through the Service too. The load has other keys.
        join_all((100..105).map(|key| put_and_get(&store, key))).await;
        let scaled = namespace.kubectl(&["scale", "skv/lab-ring", "--replicas=6"]).await;
        assert!(
            !scaled.succeeded && scaled.stderr.contains("a ring has one group for each shard"),
            "{scaled:?}"
        );

        let load = Load::start(&store, 4, 5);
        load.recorder.more_acknowledged(50).await;
        namespace.replace_pod("lab-ring-1").await;
        load.recorder.more_acknowledged(50).await;
        store.complete().await;

        let (watch, before) = (Watch::start(&store, 5), uids(&store).await);
        store.change(json!({ "server": { "resources": { "requests": { "memory": "48Mi" } } } })).await;
        store.complete().await;
        let after = uids(&store).await;
        assert!(after.iter().all(|(name, uid)| before[name] != *uid), "every pod was replaced");
        load.recorder.more_acknowledged(50).await;
        assert_eq!(watch.most_away(), 1, "one server is away at a time");
        load.finish_right(&store).await;

        delete(&store).await;
        eventually("only what is kept is left", || left(&namespace)).await;
        assert_eq!(count::<PersistentVolumeClaim>(&namespace).await, 5);
    })
    .await;
}

/// Asserts that a key that is put through the Service, by a pod of its own, is found.
async fn put_and_get(store: &Store, key: u32) {
    let (name, key) = (format!("put-{key}"), key.to_string());
    let put = store.namespace.run(&name, &["skv", "--server=lab-ring:7000", "put", &key, "there"]).await;
    assert!(put.succeeded, "{put:?}");
    assert_eq!(store.skv(&["get", &key]).await.stdout, "there");
}

/// Asserts that the replicas of shard i's group are on servers i, i + 1 and i + 2, counted around the ring.
async fn servers_hold_their_groups(store: &Store) {
    for group in 0..5 {
        let status = store.group_status(group).await.expect("the group has a status");
        assert_eq!(status["shards"], 1, "{status}");
        let replicas = status["replicas"].as_array().expect("replicas").iter();
        let mut servers: Vec<&str> = replicas.filter_map(|replica| replica["server"].as_str()).collect();
        servers.sort_unstable();
        let mut expected: Vec<String> = (group..group + 3).map(|i| format!("lab-ring-{}", i % 5)).collect();
        expected.sort_unstable();
        assert_eq!(servers, expected, "g{group}");
    }
}

async fn uids(store: &Store) -> BTreeMap<String, String> {
    let servers = ListParams::default().labels(&store.servers_label());
    let pods = store.namespace.api::<Pod>().list(&servers).await.expect("pods can be listed").items;
    assert_eq!(pods.len(), 5);
    let names = pods.into_iter().map(|pod| (pod.metadata.name, pod.metadata.uid));
    names.map(|(name, uid)| (name.unwrap_or_default(), uid.unwrap_or_default())).collect()
}
