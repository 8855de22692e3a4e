//! Volumes that are lost, and volumes that grow.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use skv_e2e::{Load, Namespace, Store, eventually, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_lost_volume_makes_a_new_replica_and_loses_no_data() {
    in_namespace("lost-volume", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;
        // Pod 0 has no privilege.
        for ordinal in [1, 0] {
            let server = store.server(0, ordinal);
            let before = replica(&store, &server).await;
            let claims = namespace.api::<PersistentVolumeClaim>();
            claims
                .delete(&format!("data-{server}"), &DeleteParams::default())
                .await
                .expect("a claim can be deleted");
            namespace.replace_pod(&server).await;
            eventually(&format!("{server} is a new replica"), || async {
                (replica(&store, &server).await != before).then_some(())
            })
            .await;
            load.recorder.more_acknowledged(50).await;
        }
        load.finish_right(&store).await;
    })
    .await;
}

/// Returns the id of the replica on a server.
async fn replica(store: &Store, server: &str) -> Value {
    eventually(&format!("{server} is a member"), || async {
        let group = store.group_status(0).await?;
        let replicas = group["replicas"].as_array()?;
        Some(replicas.iter().find(|replica| replica["server"] == server)?["id"].clone())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_majority_that_is_lost_is_said_and_left_alone() {
    in_namespace("quorum", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        assert!(store.skv(&["put", "kept", "yes"]).await.succeeded);
        let survivor = store.server(0, 0);
        let stays = store.pods(0).await[&survivor].metadata.uid.clone();
        // Both must be away before either comes back: one at a time would be replaced by a new replica.
        store.change(json!({ "paused": true })).await;
        store.says("Progressing", "Paused").await;
        let fewer = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
        let sets = namespace.api::<StatefulSet>();
        sets.patch("kv-g0", &PatchParams::default(), &fewer).await.expect("a StatefulSet can be changed");
        eventually("two pods are gone", || async { (store.pods(0).await.len() == 1).then_some(()) }).await;
        for ordinal in [1, 2] {
            let claim = format!("data-{}", store.server(0, ordinal));
            let claims = namespace.api::<PersistentVolumeClaim>();
            claims.delete(&claim, &DeleteParams::default()).await.expect("a claim can be deleted");
            eventually(&format!("{claim} is gone"), || async {
                claims.get_opt(&claim).await.ok()?.is_none().then_some(())
            })
            .await;
        }
        store.change(json!({ "paused": null })).await;
        let resource = store.says("Degraded", "QuorumLost").await;
        let summary = resource["status"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("g0") && summary.contains("skv group reset"), "{summary}");
        assert_eq!(store.pods(0).await[&survivor].metadata.uid, stays, "nobody touched it");

        // This is the way out, which people take from outside of the cluster.
        let reset = ["group", "reset", "g0", "--from", &survivor, "--accept-data-loss"];
        // A survivor that has just started, or begun to lead, doesn't know yet that nobody follows it.
        let reset = eventually("the survivor knows that its majority is lost", || async {
            let reset = namespace.kubectl_skv(&reset).await;
            (!reset.stderr.contains("ask again")).then_some(reset)
        })
        .await;
        assert!(reset.succeeded, "{reset:?}");
        store.complete().await;
        assert_eq!(store.skv(&["get", "kept"]).await.stdout, "yes");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn volumes_are_asked_to_grow_and_no_pod_is_replaced() {
    in_namespace("growth", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let spec = json!({ "groups": 1, "storage": { "size": "256Mi", "whenDeleted": "Delete" } });
        let store = Store::create(&namespace, spec).await;
        let pods: Vec<_> = store.pods(0).await.into_values().map(|pod| pod.metadata.uid).collect();
        store.change(json!({ "storage": { "size": "512Mi" } })).await;
        let resource = eventually("the StatefulSet makes larger claims", || async {
            let sets = namespace.api::<StatefulSet>();
            let set = serde_json::to_value(sets.get_opt("kv-g0").await.ok()??).ok()?;
            let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
            (claim["resources"]["requests"]["storage"] == "512Mi").then_some(set)
        })
        .await;
        assert_eq!(resource["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Delete");
        eventually("the status says that volumes grow", || async {
            let status = store.get().await["status"].take();
            let conditions = status["conditions"].as_array()?;
            conditions.iter().any(|condition| condition["reason"] == "VolumesGrowing").then_some(())
        })
        .await;
        enlarge(&namespace, "512Mi").await;
        store.complete().await;
        assert_eq!(sizes(&namespace).await, ["512Mi"; 3]);
        let after: Vec<_> = store.pods(0).await.into_values().map(|pod| pod.metadata.uid).collect();
        assert_eq!(pods, after);
    })
    .await;
}

/// Says that the volumes of all claims have this size, as the driver that enlarges them does; the cluster has none.
async fn enlarge(namespace: &Namespace, size: &str) {
    let claims = namespace.api::<PersistentVolumeClaim>();
    let patch = Patch::Merge(json!({ "status": { "capacity": { "storage": size } } }));
    for claim in claims.list(&ListParams::default()).await.expect("claims can be listed") {
        let name = claim.metadata.name.expect("a name");
        claims
            .patch_status(&name, &PatchParams::default(), &patch)
            .await
            .expect("a claim's status can be written");
    }
}

async fn sizes(namespace: &Namespace) -> Vec<String> {
    let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
    let size =
        |claim: PersistentVolumeClaim| Some(claim.spec?.resources?.requests?.get("storage")?.0.clone());
    claims.expect("claims can be listed").items.into_iter().filter_map(size).collect()
}
