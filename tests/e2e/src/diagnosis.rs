//! The output that a person wants when a test has failed: pods, events and the ends of logs.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

/// The number of lines of each log.
const LINES: i64 = 30;

/// Prints it for a namespace. The test has failed already, so errors are ignored.
pub(crate) async fn print(client: &Client, namespace: &str) {
    let all = ListParams::default();
    eprintln!("\n== namespace {namespace} when the test failed");
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    for event in events.list(&all).await.into_iter().flat_map(|list| list.items) {
        let object = event.involved_object.name.unwrap_or_default();
        let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        eprintln!("event: {object}: {reason}: {message}");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods.list(&all).await.into_iter().flat_map(|list| list.items) {
        let name = pod.metadata.name.unwrap_or_default();
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        eprintln!("\n== pod {name} on {node}: {}", status.phase.unwrap_or_default());
        for container in status.container_statuses.unwrap_or_default() {
            eprintln!(
                "{}: restarted {} times, {:?}",
                container.name, container.restart_count, container.state
            );
        }
        for previous in [true, false] {
            let log = LogParams { previous, tail_lines: Some(LINES), ..LogParams::default() };
            if let Ok(text) = pods.logs(&name, &log).await {
                eprintln!("{text}");
            }
        }
    }
}
