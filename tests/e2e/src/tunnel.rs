//! Connections into the cluster for clerks and programs that are outside of it: through the API server, as
//! `kubectl port-forward` makes them.

use std::io;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use rand::seq::IndexedRandom as _;
use skv_net::{Connector, connector};
use tokio::io::copy_bidirectional;

use crate::Namespace;
use crate::outside::entrance;
use crate::pod::is_ready;

/// Makes a connector to pods, and to Services that stand for pods, by the names that they have
/// within the cluster.
pub(crate) fn into(namespace: &Namespace) -> Connector {
    let namespace = namespace.clone();
    connector(move |address| {
        let namespace = namespace.clone();
        async move {
            let (host, port) = address.rsplit_once(':').ok_or_else(|| failed(&address, "no port"))?;
            let port: u16 = port.parse().map_err(|error| failed(&address, error))?;
            let name = host.split('.').next().unwrap_or(host);
            let pods: Api<Pod> = namespace.api();
            let pod = match pods.get_opt(name).await.map_err(|error| failed(&address, error))? {
                Some(_) => name.to_owned(),
                None => behind(&pods, name).await.ok_or_else(|| failed(&address, "no pod"))?,
            };
            let mut forwarder =
                pods.portforward(&pod, &[port]).await.map_err(|error| failed(&address, error))?;
            forwarder.take_stream(port).ok_or_else(|| failed(&address, "no stream"))
        }
    })
}

/// Returns an address on this machine that leads to a port of a pod for as long as the test runs.
pub async fn reach_pod(pods: Api<Pod>, pod: String, port: u16) -> String {
    entrance(move |mut near| {
        let (pods, pod) = (pods.clone(), pod.clone());
        async move {
            // The client sees the end of the connection, and tries again.
            let Ok(mut forwarder) = pods.portforward(&pod, &[port]).await else { return };
            let Some(mut far) = forwarder.take_stream(port) else { return };
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await
}

/// Returns a ready pod behind a Service.
async fn behind(pods: &Api<Pod>, service: &str) -> Option<String> {
    let (instance, _) = service.rsplit_once("-manager")?;
    let label = format!("app.kubernetes.io/instance={instance},app.kubernetes.io/component=shard-manager");
    let found = pods.list(&ListParams::default().labels(&label)).await.ok()?.items;
    let ready: Vec<Pod> = found.into_iter().filter(is_ready).collect();
    ready.choose(&mut rand::rng())?.metadata.name.clone()
}

fn failed(address: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{address}: {why}"))
}
