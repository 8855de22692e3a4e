//! The number of groups changes while the store is used.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use skv_e2e::{
    Clerks as _, Load, Namespace, Store, eventually, in_namespace, install_operator, kill_processes_of,
};

/// The number of clerks, enough for each moving shard to be in use.
const CLERKS: u64 = 8;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn groups_scale_out_and_in_under_load_and_no_call_fails() {
    in_namespace("groups", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let storage = json!({ "size": "256Mi", "whenScaled": "Delete" });
        let spec = json!({ "groups": 1, "replicas": 1, "shards": 12, "storage": storage });
        let store = Store::create(&namespace, spec).await;
        let load = Load::start(&store, CLERKS, 16);
        load.recorder.more_acknowledged(50).await;

        let none = namespace.kubectl(&["scale", "shardedkv/kv", "--replicas=0"]).await;
        assert!(!none.succeeded && none.stderr.contains("spec.groups"), "{none:?}");
        let scaled = namespace.kubectl(&["scale", "shardedkv/kv", "--replicas=3"]).await;
        assert!(scaled.succeeded, "{scaled:?}");
        store.says("Progressing", "Moving").await;
        reconfigured(&store, 1).await;
        // This server is the source of all moves.
        let source = store.pods(0).await[&store.server(0, 0)].metadata.uid.clone();
        kill_processes_of(&source.expect("a pod has a uid"));
        assert_eq!(shards(&store.complete().await), [4, 4, 4]);
        load.recorder.more_acknowledged(50).await;

        store.change(json!({ "groups": 2 })).await;
        assert_eq!(shards(&store.complete().await), [6, 6]);
        nothing_is_left_of(&namespace, "kv-g2").await;
        load.recorder.more_acknowledged(50).await;

        store.change(json!({ "groups": 3 })).await;
        assert_eq!(shards(&store.complete().await), [4, 4, 4]);
        load.recorder.more_acknowledged(50).await;
        load.finish_right(&store).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_group_that_leaves_goes_although_its_leader_is_replaced_and_its_volumes_stay() {
    in_namespace("leaving", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let storage = json!({ "size": "256Mi", "whenDeleted": "Delete" });
        let spec = json!({ "groups": 2, "replicas": 3, "shards": 12, "storage": storage });
        let store = Store::create(&namespace, spec).await;
        let load = Load::start(&store, CLERKS, 16);
        load.recorder.more_acknowledged(50).await;
        let leader = store.leader(1).await;
        store.change(json!({ "groups": 1 })).await;
        // Its server may be on its way out already.
        let deleted = namespace.api::<Pod>().delete(&leader, &DeleteParams::default()).await;
        assert!(deleted.is_ok() || store.pods(1).await.is_empty(), "{deleted:?}");
        assert_eq!(shards(&store.complete().await), [12]);
        load.recorder.more_acknowledged(50).await;
        load.finish_right(&store).await;
        // `whenScaled` is Retain.
        assert_eq!(claims(&namespace, "kv-g1").await.len(), 3);

        // The kept volumes are of a group that is no more: the new one begins without them.
        store.change(json!({ "groups": 2 })).await;
        assert_eq!(shards(&store.complete().await), [6, 6]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_number_of_groups_is_changed_back_while_shards_move_and_pods_die() {
    in_namespace("turning-back", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let storage = json!({ "size": "1Gi", "whenScaled": "Delete" });
        let spec = json!({ "groups": 2, "replicas": 1, "shards": 12, "storage": storage });
        let store = Store::create(&namespace, spec).await;
        // The ballast is enough for moves to take a while.
        let ballast = Ballast::put(&store).await;
        let load = Load::start(&store, CLERKS, 16);
        load.recorder.more_acknowledged(50).await;

        store.change(json!({ "groups": 3 })).await;
        reconfigured(&store, 1).await;
        store.change(json!({ "groups": 2 })).await;
        // These are a source of moves, and their planner.
        let source = store.pods(0).await[&store.server(0, 0)].metadata.uid.clone();
        kill_processes_of(&source.expect("a pod has a uid"));
        let managers = namespace.ready_pods_now(&store.managers_label()).await;
        let manager =
            managers.into_iter().flatten().find_map(|pod| pod.metadata.name).expect("a manager is ready");
        let deleted = namespace.api::<Pod>().delete(&manager, &DeleteParams::default()).await;
        deleted.expect("a pod can be deleted");
        assert_eq!(shards(&store.complete().await), [6, 6]);
        nothing_is_left_of(&namespace, "kv-g2").await;
        load.recorder.more_acknowledged(50).await;

        store.change(json!({ "groups": 3 })).await;
        assert_eq!(shards(&store.complete().await), [4, 4, 4]);
        load.recorder.more_acknowledged(50).await;
        load.finish_right(&store).await;
        ballast.all_found_in(&store).await;
    })
    .await;
}

/// Large values, of which every shard has some.
struct Ballast(Vec<String>);

impl Ballast {
    const VALUE: usize = 512 << 10;

    async fn put(store: &Store) -> Ballast {
        let ballast = Ballast((0..128).map(|number| format!("ballast-{number}")).collect());
        let clerk = store.clerk();
        for key in &ballast.0 {
            clerk.put(key.clone(), vec![0; Ballast::VALUE]).await.expect("ballast is taken");
        }
        ballast
    }

    async fn all_found_in(self, store: &Store) {
        let clerk = store.clerk();
        for key in self.0 {
            let found = clerk.get(key.clone()).await.unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_eq!(found.value.len(), Ballast::VALUE, "{key}");
        }
    }
}

/// Waits until there is a configuration after this one.
async fn reconfigured(store: &Store, before: u64) {
    eventually("there is a new configuration", || async {
        (store.get().await["status"]["configuration"].as_u64()? > before).then_some(())
    })
    .await;
}

/// Returns the number of shards of each group.
fn shards(resource: &Value) -> Vec<u64> {
    let groups = resource["status"]["groups"].as_array().expect("the groups are told");
    groups.iter().filter_map(|group| group["shards"].as_u64()).collect()
}

/// Waits until all objects of a group are gone.
async fn nothing_is_left_of(namespace: &Namespace, group: &str) {
    eventually(&format!("nothing is left of {group}"), || async {
        let set = namespace.api::<StatefulSet>().get_opt(group).await.ok()?;
        let service = namespace.api::<Service>().get_opt(group).await.ok()?;
        let gone = set.is_none() && service.is_none() && claims(namespace, group).await.is_empty();
        gone.then_some(())
    })
    .await;
}

/// Returns the claims of a group's servers.
async fn claims(namespace: &Namespace, group: &str) -> Vec<String> {
    let listed = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
    let names = listed.expect("claims can be listed").items.into_iter().filter_map(|c| c.metadata.name);
    names.filter(|name| name.starts_with(&format!("data-{group}-"))).collect()
}
