//! The first steps of a person with a cluster: the sample as it is.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::json;
use skv_e2e::{Namespace, Node, Store, in_namespace, in_project, install_operator, programs};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_sample_runs_spread_over_nodes_and_zones_and_serves_from_inside_and_outside() {
    in_namespace("quickstart", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let applied =
            namespace.kubectl(&["apply", "-f", &in_project("deploy/samples/quickstart.yaml")]).await;
        assert!(applied.succeeded, "{applied:?}");
        let store = Store::existing(&namespace, "quickstart");
        let resource = store.complete().await;
        assert_eq!(resource["status"]["ready"], "6/6");
        assert_eq!(resource["status"]["shards"], "240/240");
        for group in [0, 1] {
            let pods = store.pods(group).await;
            let nodes: BTreeSet<_> =
                pods.values().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
            assert_eq!((pods.len(), nodes.len()), (3, 3), "g{group} is on {nodes:?}");
            let mut zones = BTreeSet::new();
            for node in &nodes {
                zones.insert(Node::new(&namespace, node).zone().await);
            }
            assert_eq!(zones.len(), 3, "g{group} is in {zones:?}");
        }
        store.says("Spread", "Apart").await;

        let server = "--server=quickstart:7000";
        let put = namespace.run("put", &["skv", server, "put", "greeting", "hello"]).await;
        assert!(put.succeeded, "{put:?}");
        assert_eq!(
            through_port_forward(&namespace, "quickstart", 7000, &["append", "greeting", ", world"]).await,
            "hello"
        );

        // Every port is changed: peers find each other by SRV records alone.
        let ports = json!({ "client": 8000, "peer": 8001, "http": 8002, "manager": 8400 });
        store.change(json!({ "ports": ports })).await;
        store.complete().await;
        assert_eq!(
            through_port_forward(&namespace, "quickstart", 8000, &["get", "greeting"]).await,
            "hello, world"
        );
        let server = "--server=quickstart:8000";
        let got = namespace.run("get", &["skv", server, "get", "greeting"]).await;
        assert_eq!(got.stdout, "hello, world", "{got:?}");
    })
    .await;
}

/// Returns the output of `skv` on this machine when it asks a Service through `kubectl port-forward`.
async fn through_port_forward(namespace: &Namespace, service: &str, port: u16, command: &[&str]) -> String {
    let skv = &programs().skv;
    let (service, port) = (format!("service/{service}"), format!(":{port}"));
    let mut forward = Command::from(namespace.kubectl_command());
    let mut forward = forward
        .args(["port-forward", &service, &port])
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl can be run");
    let stdout = forward.stdout.take().expect("its output is piped");
    // The process must be able to go on printing.
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await.expect("kubectl speaks").expect("kubectl forwards");
    // Forwarding from 127.0.0.1:40123 -> 7000
    let address = line.split_whitespace().nth(2).expect("the line has an address");
    let output = Command::new(skv).args(["--server", address]).args(command).output().await;
    let output = output.expect("skv can be run");
    forward.kill().await.expect("kubectl can be stopped");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
