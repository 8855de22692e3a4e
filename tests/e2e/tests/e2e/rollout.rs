//! Rolling updates: by a change of the resource under load, and by a restart that was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use skv_e2e::{Load, Store, Watch, eventually_within, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn an_update_takes_one_server_of_a_group_at_a_time_and_the_leader_last() {
    in_namespace("rollout", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 2 })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;
        let watch = Watch::start(&store, 6);

        let (leader, before) = (store.leader(0).await, uids(&store.pods(0).await));
        store.change(json!({ "server": { "resources": { "requests": { "memory": "48Mi" } } } })).await;
        store.complete().await;
        let after = store.pods(0).await;
        assert!(uids(&after).iter().all(|(name, uid)| before[name] != *uid), "every pod was replaced");
        let newest = after.values().max_by_key(|pod| pod.metadata.creation_timestamp.clone()).expect("pods");
        assert_eq!(newest.metadata.name.as_ref(), Some(&leader), "the leader went last");
        load.recorder.more_acknowledged(50).await;

        let image = &namespace.cluster.next_image;
        store.change(json!({ "image": { "name": image } })).await;
        let resource = store.complete().await;
        assert_eq!(resource["status"]["version"], image.rsplit_once(':').expect("a tag").1);
        for group in [0, 1] {
            for (name, pod) in store.pods(group).await {
                let runs = pod.spec.expect("a pod has a spec").containers[0].image.clone();
                assert_eq!(runs.as_ref(), Some(image), "{name}");
            }
        }
        assert_eq!(watch.most_away(), 1, "one server is away at a time, over all groups");
        load.finish_right(&store).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_restart_that_was_asked_for_and_additions_to_pods_take_one_server_at_a_time() {
    in_namespace("restart", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let before = uids(&store.pods(0).await);
        let watch = Watch::start(&store, 3);

        let asked = namespace.kubectl(&["rollout", "restart", "statefulset", "kv-g0"]).await;
        assert!(asked.succeeded, "{asked:?}");
        eventually_within(Duration::from_mins(5), "every pod was replaced", || async {
            let now = uids(&store.pods(0).await);
            (now.len() == 3 && now.iter().all(|(name, uid)| before.get(name) != Some(uid))).then_some(())
        })
        .await;
        store.complete().await;

        let variable = json!({ "name": "RUST_LOG", "value": "info" });
        let ours = json!({ "name": "kvserver", "env": [variable] });
        store.change(json!({ "podTemplate": { "spec": { "containers": [ours] } } })).await;
        store.complete().await;
        for (name, pod) in store.pods(0).await {
            let env = pod.spec.expect("a pod has a spec").containers[0].env.clone().unwrap_or_default();
            assert!(env.iter().any(|variable| variable.name == "RUST_LOG"), "{name}: {env:?}");
            assert!(env.iter().any(|variable| variable.name == "SKV_SERVER"), "{name}: {env:?}");
        }
        assert_eq!(watch.most_away(), 1, "one server is away at a time");
        store.change(json!({ "podTemplate": { "spec": { "hostname": "mine" } } })).await;
        store.says("Valid", "Invalid").await;
    })
    .await;
}

fn uids(pods: &BTreeMap<String, Pod>) -> BTreeMap<String, String> {
    pods.iter().map(|(name, pod)| (name.clone(), pod.metadata.uid.clone().unwrap_or_default())).collect()
}
