//! Disruptions of any kind, of which clerks notice nothing but a pause.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use skv_e2e::{
    Load, OPERATOR_NAMESPACE, Store, eventually, in_namespace, install_operator, is_ready, kill_processes_of,
};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn pods_processes_managers_and_the_operator_go_and_no_call_fails() {
    in_namespace("disruption", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let follower = store.pods(0).await.into_keys().find(|pod| *pod != leader).expect("a follower");
        namespace.replace_pod(&follower).await;
        load.recorder.more_acknowledged(50).await;
        namespace.replace_pod(&leader).await;
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let restarts = |pod: &Pod| {
            pod.status
                .as_ref()
                .map_or(0, |s| s.container_statuses.iter().flatten().map(|c| c.restart_count).sum())
        };
        let before: i32 = restarts(&store.pods(0).await[&leader]);
        kill_processes_of(store.pods(0).await[&leader].metadata.uid.as_deref().expect("a pod has a uid"));
        eventually("the killed server is ready again", || async {
            let pods = store.pods(0).await;
            let pod = pods.get(&leader)?;
            (restarts(pod) > before && is_ready(pod)).then_some(())
        })
        .await;
        load.recorder.more_acknowledged(50).await;

        let all = DeleteParams::default();
        let managers = ListParams::default().labels(&store.managers_label());
        namespace.api::<Pod>().delete_collection(&all, &managers).await.expect("pods can be deleted");
        load.recorder.more_acknowledged(50).await;
        let operators: Api<Pod> = Api::namespaced(namespace.cluster.client.clone(), OPERATOR_NAMESPACE);
        operators.delete_collection(&all, &ListParams::default()).await.expect("pods can be deleted");
        load.recorder.more_acknowledged(50).await;
        namespace.ready_pods(&store.managers_label(), 2).await;

        load.finish_right(&store).await;
        // An operator that comes back continues its work.
        install_operator(&namespace.cluster).await;
        store.complete().await;
    })
    .await;
}
