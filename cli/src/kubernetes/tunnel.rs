//! Connections to the pods of a store from outside of the cluster: through the API server, as
//! `kubectl port-forward` makes them, each when it is needed.

use std::io;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use skv_net::{Connector, connector};
use tokio::io::DuplexStream;

use super::pods;

/// Returns the name of the shard managers' Service, by which the tunnel finds one of them.
pub(super) fn manager_name(store: &str) -> String {
    format!("{store}-manager")
}

/// Makes a connector to the pods of a store, by the names that they have within the cluster.
pub(super) fn into(pods: Api<Pod>, store: String) -> Connector {
    connector(move |address| {
        let (pods, store) = (pods.clone(), store.clone());
        async move {
            let opened = open(&pods, &store, &address).await;
            opened.map_err(|why| {
                io::Error::other(format!("no way to {address} through the API server: {why:#}"))
            })
        }
    })
}

async fn open(pods: &Api<Pod>, store: &str, address: &str) -> anyhow::Result<DuplexStream> {
    let (host, port) = parse(address).context("it is not of the form POD:PORT")?;
    let pod = if host == manager_name(store) { ready_manager(pods, store).await? } else { host.to_owned() };
    let mut forwarder = pods.portforward(&pod, &[port]).await?;
    forwarder.take_stream(port).context("the API server opened no stream")
}

/// Returns the name before the domain, and the port.
fn parse(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.split('.').next()?, port.parse().ok()?))
}

/// Returns the name of a shard manager that answers: another one after a roll than before.
async fn ready_manager(pods: &Api<Pod>, store: &str) -> anyhow::Result<String> {
    let all = pods::of_store(pods, store).await?;
    let ready = all.into_iter().find(|pod| pods::is_manager(pod) && pods::is_ready(pod));
    ready.and_then(|pod| pod.metadata.name).context("no shard manager is ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_by_the_first_part_of_its_domain() {
        assert_eq!(parse("kv-g0-1.kv-g0.prod.svc.cluster.local.:7001"), Some(("kv-g0-1", 7001)));
        assert_eq!(parse("kv-manager:7400"), Some(("kv-manager", 7400)));
        assert_eq!(parse("kv-manager"), None);
        assert_eq!(parse("kv-manager:http"), None);
    }
}
