//! An operator without work does nothing: its requests are counted at the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use skv_e2e::{Namespace, Store, in_namespace, install_operator};
use tokio::time::sleep;

/// The time in which nothing may happen. No other test lets a time pass: here it is tested.
const QUIET: Duration = Duration::from_mins(1);
/// The number of such times that are tried. Kubernetes itself writes now and then, a kubelet's Event for example; an
/// operator that writes in its passes does so in each of them.
const TRIES: usize = 3;

/// All resources that an operator could write, except its Lease.
const OURS: [&str; 13] = [
    "shardedkvs",
    "shardmaps",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
    "deployments",
    "statefulsets",
    "pods",
    "persistentvolumeclaims",
    "events",
];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn in_a_steady_state_nothing_is_written_and_little_read() {
    in_namespace("steady", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        // Readiness, addresses and leaders settle after the last pod has come.
        sleep(Duration::from_secs(10)).await;
        let mut written = Vec::new();
        while written.len() < TRIES {
            store.complete().await;
            let (writes, reads) = watched(&namespace).await;
            // The store's own shard managers look at their record now and then.
            assert!(reads <= 90, "{reads} reads of our resources in {QUIET:?}");
            if writes.is_empty() {
                return;
            }
            written.push(writes);
        }
        panic!("there is no time of {QUIET:?} without writes: {written:?}");
    })
    .await;
}

/// Lets a time pass; returns the writes in it, and the number of reads of the kinds that are our own.
async fn watched(namespace: &Namespace) -> (Vec<String>, u64) {
    let before = requests(namespace).await;
    sleep(QUIET).await;
    let (mut writes, mut reads) = (Vec::new(), 0);
    for (key, count) in requests(namespace).await {
        let more = count - before.get(&key).copied().unwrap_or(0);
        let (verb, resource) = key;
        match verb.as_str() {
            "GET" | "LIST" if resource.starts_with("shardedkvs") || resource.starts_with("shardmaps") => {
                reads += more;
            }
            "GET" | "LIST" | "WATCH" | "CONNECT" => {}
            _ if more > 0 => writes.push(format!("{more} times {verb} {resource}")),
            _ => {}
        }
    }
    (writes, reads)
}

/// Returns the number of requests for our resources, by verb and resource. The status of pods is
/// excluded: their kubelets write it, and the operator has no right to.
pub(super) async fn requests(namespace: &Namespace) -> BTreeMap<(String, String), u64> {
    let metrics = namespace.kubectl(&["get", "--raw", "/metrics"]).await.stdout;
    assert!(!metrics.is_empty(), "the API server tells its metrics");
    let mut counts = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else { continue };
        if resource == "pods" && label("subresource").as_deref() == Some("status") {
            continue;
        }
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        if OURS.contains(&resource.as_str()) {
            *counts.entry((verb, resource)).or_insert(0) += count;
        }
    }
    counts
}
