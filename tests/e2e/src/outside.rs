//! Clients outside of the cluster that connect to ports of its nodes.

use std::process::Stdio;

use tokio::io::{copy_bidirectional, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::cluster::variable;

/// Carries bytes between its own input and output and a connection to a host and a port, until the
/// input ends.
const CARRY: &str = r#"exec 3<>"/dev/tcp/$0/$1" && { cat <&3 & cat >&3; kill $! 2>/dev/null; }"#;

/// Returns an address on this machine that leads to a port of a node. If the cluster is a network
/// of its own on this machine, connections are made from beside the nodes.
pub async fn reach_node(node: &str, port: u32) -> String {
    let (Some(xtask), Some(index)) = (variable("SKV_E2E_XTASK"), variable("SKV_E2E_INDEX")) else {
        return format!("{node}:{port}");
    };
    let arguments = ["kube", "in", "--index", &index, "bash", "-c", CARRY, node, &port.to_string()];
    let arguments = arguments.map(str::to_owned);
    entrance(move |near| {
        let mut carry = Command::new(&xtask);
        carry.args(&arguments).kill_on_drop(true);
        relay(near, carry)
    })
    .await
}

/// Returns an address on this machine at which each connection is carried on, for as long as the test runs.
pub(crate) async fn entrance<F>(carry_on: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(carry_on(near));
        }
    });
    address
}

/// Relays until either side ends.
async fn relay(mut near: TcpStream, mut carry: Command) {
    let carry = carry.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut carry = carry.expect("the cluster's network can be entered");
    if let (Some(output), Some(input)) = (carry.stdout.take(), carry.stdin.take()) {
        let _ = copy_bidirectional(&mut near, &mut join(output, input)).await;
    }
    let _ = carry.kill().await;
}
