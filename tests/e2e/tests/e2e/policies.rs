//! Connections to a store, as its network policy allows them. The cluster must enforce policies.

use std::net::SocketAddr;

use futures::future::join_all;
use serde_json::json;
use skv_e2e::{Namespace, Store, eventually, in_namespace, install_operator};

const CLIENT: u16 = 7000;
const PEER: u16 = 7001;
const HTTP: u16 = 7002;
const MANAGER: u16 = 7400;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn strangers_reach_only_the_ports_of_clients_while_the_store_works_and_grows() {
    in_namespace("policies", |namespace| async move {
        install_operator(&namespace.cluster).await;
        // Servers of one group talk to each other, and the operator to all of them.
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        let (server, manager) = (server_address(&store).await, manager_address(&store).await);
        let ports = [(&server, CLIENT), (&server, HTTP), (&server, PEER), (&manager, MANAGER)];
        let (store, ports) = (&store, &ports);
        in_namespace("strangers", |strangers| async move {
            only_open(&strangers, ports, &[CLIENT, HTTP]).await;
            store.change(json!({ "networkPolicy": { "enabled": false } })).await;
            only_open(&strangers, ports, &[CLIENT, HTTP, PEER, MANAGER]).await;
            let nobody = json!([{ "podSelector": { "matchLabels": { "nobody": "nobody" } } }]);
            store.change(json!({ "networkPolicy": { "enabled": true, "clients": nobody } })).await;
            only_open(&strangers, ports, &[]).await;
            // A rule of the resource's own opens what it names, and nothing else.
            let to_manager = json!([{ "ports": [{ "port": "manager" }] }]);
            store.change(json!({ "networkPolicy": { "ingress": to_manager } })).await;
            only_open(&strangers, ports, &[MANAGER]).await;
        })
        .await;

        store.change(json!({ "groups": 2 })).await;
        let resource = store.complete().await;
        assert_eq!(resource["status"]["groups"][1]["shards"], 6, "{}", resource["status"]);
    })
    .await;
}

/// Waits until pods of a namespace can connect to those ports of addresses that are open, and to no others.
async fn only_open(from: &Namespace, ports: &[(&String, u16)], open: &[u16]) {
    let (open, closed): (Vec<_>, Vec<_>) = ports.iter().partition(|(_, port)| open.contains(port));
    // These show that the rules are in force.
    join_all(open.iter().map(|(address, port)| reached(from, address, *port, true))).await;
    join_all(closed.iter().map(|(address, port)| reached(from, address, *port, false))).await;
}

/// Waits until a pod of a namespace can connect to a port, or can't. Packets that aren't allowed are dropped,
/// so that only then nothing answers; a server of another protocol than HTTP answers with an error.
async fn reached(from: &Namespace, address: &str, port: u16, expected: bool) {
    let address = SocketAddr::new(address.parse().expect("pods have addresses"), port);
    let page = format!("http://{address}/livez");
    let verb = if expected { "can" } else { "can't" };
    eventually(&format!("{} {verb} connect to {address}", from.name), || async {
        let name = format!("probe-{:08x}", rand::random::<u32>());
        let output = from.run(&name, &["skv", "--timeout=3s", "probe", &page]).await;
        let silent = !output.succeeded && output.stdout.contains("didn't answer within");
        (silent != expected).then_some(())
    })
    .await;
}

/// Returns the address of the first group's first server.
async fn server_address(store: &Store) -> String {
    let pod = store.pods(0).await.remove(&store.server(0, 0));
    pod.and_then(|pod| pod.status?.pod_ip).expect("a server that is ready has an address")
}

/// Returns the address of a shard manager.
async fn manager_address(store: &Store) -> String {
    let pods = store.namespace.ready_pods_now(&store.managers_label()).await;
    let address = pods.into_iter().flatten().find_map(|pod| pod.status?.pod_ip);
    address.expect("a shard manager that is ready has an address")
}
