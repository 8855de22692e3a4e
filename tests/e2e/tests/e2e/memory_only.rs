//! Servers without disks: each comes back empty, as a new replica.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use serde_json::json;
use skv_e2e::{
    Load, Namespace, Still, Store, condition, eventually, eventually_within, file_of, in_namespace,
    install_operator, kill_processes_of,
};
use tokio::time::{Instant, sleep_until};

/// The time for which the operator waits until a server that runs is ready.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// The time for which most servers stand still, which is tested: shorter than their liveness probes
/// allow.
const STILL: Duration = Duration::from_secs(40);
/// The identity of a replica as a later version might write it: in a form that this one can't read, and must not
/// touch.
const LATER_IDENTITY: &str = "skv-identity/2 length=2 crc32c=8193e177\n{}";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_store_in_memory_is_rolled_under_load_and_loses_nothing() {
    in_namespace("memory-only", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let spec = json!({ "groups": 1, "storage": { "memoryOnly": true } });
        let store = Store::create(&namespace, spec).await;
        let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
        assert_eq!(claims.expect("claims can be listed").items.len(), 0);
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;
        let before = store.pods(0).await;
        store.change(json!({ "server": { "resources": { "requests": { "cpu": "60m" } } } })).await;
        store.complete().await;
        let after = store.pods(0).await;
        assert!(before.iter().all(|(name, pod)| after[name].metadata.uid != pod.metadata.uid));
        load.recorder.more_acknowledged(50).await;
        load.finish_right(&store).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_majority_in_memory_that_stands_still_amid_a_rollout_is_waited_for_and_loses_nothing() {
    in_namespace("still", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let spec = json!({ "groups": 1, "storage": { "memoryOnly": true } });
        // The operator tells why a server isn't ready after the same time, for which another store waits beside.
        let (refusing, store) = tokio::join!(begin_to_refuse(&namespace), Store::create(&namespace, spec));
        assert!(store.skv(&["put", "kept", "yes"]).await.succeeded);
        // The shard manager's new pod doesn't start: all servers are out of date, and wait.
        store.change(json!({ "image": { "name": "docker.io/library/shardedkv:missing" } })).await;
        store.says("Degraded", "PodsNotRunning").await;
        // The operator would wait for a server that started lately in any case.
        eventually_within(Duration::from_mins(3), "the servers have run for long", || async {
            let long =
                |pod: &Pod| started(pod).is_some_and(|at| Timestamp::now().duration_since(at) > PATIENCE);
            store.pods(0).await.values().all(long).then_some(())
        })
        .await;

        let before = unharmed(&store).await;
        assert_eq!(before.len(), 3);
        let until = Instant::now() + STILL;
        let still: Vec<Still> = before.values().take(2).map(|uid| Still::stop(uid)).collect();
        eventually("no server is ready, for want of a leader", || async {
            (store.not_ready(0).await == 3).then_some(())
        })
        .await;
        sleep_until(until).await;
        assert_eq!(unharmed(&store).await, before, "no pod was deleted");
        drop(still);
        namespace.ready_pods(&store.servers_label(), 3).await;
        assert_eq!(unharmed(&store).await, before, "no pod was deleted");
        assert_eq!(store.skv(&["get", "kept"]).await.stdout, "yes");

        let resource = refusing.says("Degraded", "ReplicaRefuses").await;
        let summary = resource["status"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("refusing-g0-0") && summary.contains("skv-identity/2"), "{summary}");
        assert_eq!(condition(&resource, "Stalled"), Some(("True", "ReplicaRefuses")));
    })
    .await;
}

/// Makes a store of one server that has a disk, and finds there what a later version wrote.
async fn begin_to_refuse(namespace: &Namespace) -> Store {
    let store = Store::existing(namespace, "refusing");
    let spec = json!({
        "groups": 1, "replicas": 1, "shards": 12,
        "image": { "name": namespace.cluster.image }, "storage": { "size": "256Mi" },
    });
    store.apply(spec).await.expect("the resource is valid");
    store.complete().await;
    let pod = store.pods(0).await.remove(&store.server(0, 0)).expect("a server has a pod");
    let uid = pod.metadata.uid.expect("a pod has a uid");
    let identity = file_of(&uid, "/data/g0/identity");
    fs::write(&identity, LATER_IDENTITY).expect("a file of a pod can be written");
    kill_processes_of(&uid);
    store
}

fn started(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(containers.first()?.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0)
}

/// Returns the uids of a store's servers that aren't being deleted.
async fn unharmed(store: &Store) -> BTreeMap<String, String> {
    let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    let pods = store.pods(0).await.into_iter().filter(|(_, pod)| stays(pod));
    pods.filter_map(|(name, pod)| Some((name, pod.metadata.uid?))).collect()
}
