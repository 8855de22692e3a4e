//! The output that a person wants when a test has failed: nodes, pods, events and the ends of logs.

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

/// The number of lines of each log.
const LINES: i64 = 30;

/// Prints it for a namespace. The test has failed already, so errors are ignored.
pub(crate) async fn print(client: &Client, namespace: &str) {
    let all = ListParams::default();
    eprintln!("\n== namespace {namespace} when the test failed");
    print_nodes(client).await;
    print_events(&Api::namespaced(client.clone(), namespace), &all).await;
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

/// Prints the states of all nodes, and the Events about them: pods that nobody touched aren't ready while their node
/// isn't.
async fn print_nodes(client: &Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await.into_iter().flat_map(|list| list.items) {
        let name = node.metadata.name.unwrap_or_default();
        let status = node.status.unwrap_or_default();
        for condition in status.conditions.unwrap_or_default() {
            let since = condition.last_transition_time.map(|time| time.0.to_string()).unwrap_or_default();
            let reason = condition.reason.unwrap_or_default();
            eprintln!("node {name}: {} {} since {since}: {reason}", condition.type_, condition.status);
        }
    }
    let of_nodes = ListParams::default().fields("involvedObject.kind=Node");
    print_events(&Api::all(client.clone()), &of_nodes).await;
}

async fn print_events(events: &Api<Event>, chosen: &ListParams) {
    for event in events.list(chosen).await.into_iter().flat_map(|list| list.items) {
        let object = event.involved_object.name.unwrap_or_default();
        let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        let last = event.last_timestamp.map(|time| time.0.to_string()).unwrap_or_default();
        eprintln!("event: {last} {object}: {reason}: {message}");
    }
}
