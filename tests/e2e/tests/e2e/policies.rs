//! Connections to a store, as its network policy allows them. The cluster must enforce policies.

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
            for (address, port) in ports {
                reached(&strangers, address, *port, [CLIENT, HTTP].contains(port)).await;
            }
            store.change(json!({ "networkPolicy": { "enabled": false } })).await;
            for (address, port) in ports {
                reached(&strangers, address, *port, true).await;
            }
            let nobody = json!([{ "podSelector": { "matchLabels": { "nobody": "nobody" } } }]);
            store.change(json!({ "networkPolicy": { "enabled": true, "clients": nobody } })).await;
            for (address, port) in ports {
                reached(&strangers, address, *port, false).await;
            }
        })
        .await;

        store.change(json!({ "groups": 2 })).await;
        let resource = store.complete().await;
        assert_eq!(resource["status"]["groups"][1]["shards"], 6, "{}", resource["status"]);
    })
    .await;
}

/// Waits until a pod of a namespace can connect to a port, or can't. Packets that aren't allowed are dropped,
/// so that only then nothing answers; a server of another protocol than HTTP answers with an error.
async fn reached(from: &Namespace, address: &str, port: u16, expected: bool) {
    let page = format!("http://{address}:{port}/livez");
    let verb = if expected { "can" } else { "can't" };
    eventually(&format!("{} {verb} connect to {address}:{port}", from.name), || async {
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
