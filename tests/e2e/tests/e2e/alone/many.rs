//! Many resources at the same time: their cost for the operator and the API server. Their pods fit
//! on no node, so that only objects are made.

use std::io::Write as _;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skv_e2e::{OPERATOR_NAMESPACE, Store, eventually_within, in_namespace, install_operator, memory_of};
use tokio::time::Instant;

use super::steady_state::requests;

const MANY: usize = 200;
/// The time limit, far more than is needed.
const NEVER: Duration = Duration::from_mins(10);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn two_hundred_resources_get_all_their_objects() {
    in_namespace("many", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let total = |counts: std::collections::BTreeMap<_, u64>| counts.values().sum::<u64>();
        let (began, before) = (Instant::now(), total(requests(&namespace).await));
        for number in 0..MANY {
            let spec = json!({
                "groups": 1, "replicas": 1, "shards": 12,
                "shardManager": { "replicas": 1 },
                "scheduling": { "nodeSelector": { "kubernetes.io/hostname": "nowhere" } },
            });
            let store = Store::existing(&namespace, &format!("kv-{number}"));
            store.apply(spec).await.unwrap_or_else(|error| panic!("kv-{number} is refused: {error}"));
        }
        let created = began.elapsed();
        eventually_within(NEVER, "all have their servers", || async {
            let sets = namespace.api::<StatefulSet>().list_metadata(&ListParams::default()).await.ok()?;
            (sets.items.len() == MANY).then_some(())
        })
        .await;
        eventually_within(NEVER, "all have a status", || async {
            let resources = Store::existing(&namespace, "").api().list(&ListParams::default()).await.ok()?;
            let told = |resource: &kube::api::DynamicObject| resource.data["status"]["groupCount"] == 1;
            resources.items.iter().all(told).then_some(())
        })
        .await;
        let (took, requests) = (began.elapsed(), total(requests(&namespace).await) - before);
        let pods: Api<Pod> = Api::namespaced(namespace.cluster.client.clone(), OPERATOR_NAMESPACE);
        let operators = pods.list(&ListParams::default()).await.map_or_else(|_| Vec::new(), |pods| pods.items);
        let memory = operators.iter().filter_map(|pod| memory_of(pod.metadata.uid.as_deref()?, "skv-operator")).max();
        // `println!` doesn't work here: the test harness captures it.
        let printed = writeln!(
            std::io::stderr(),
            "\n{MANY} resources: created in {created:.1?}, all objects and statuses after {took:.1?}; {} requests to the \
             API server per resource, those of Kubernetes' own controllers included; the operator has {} MiB",
            requests / MANY as u64,
            memory.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string()),
        );
        printed.expect("what was measured can be printed");
    })
    .await;
}
