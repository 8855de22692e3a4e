//! The nodes and volumes of pods that can't start, aren't ready for long, or are being deleted. A node or a
//! volume that the operator has no right to read counts as one that is there.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use kube::Client;
use kube::api::{Api, ListParams};
use skv_operator_plan::claims::{Binding, Claim};
use skv_operator_plan::names::ServerSet;
use skv_operator_plan::observed::ObservedServers;
use skv_operator_plan::pods::ServerPod;
use skv_operator_plan::rollout::{Cause, is_out_of_service, selectors};

use crate::error::Error;

/// The number of nodes at which a volume counts as one that can be used somewhere.
const MANY_NODES: u32 = 10;

/// Nodes by their names, as far as they may be read; `None` for those that are gone.
pub(super) type Nodes = BTreeMap<String, Option<Node>>;

/// Reads the nodes of all pods in doubt.
pub(super) async fn nodes(
    client: &Client,
    seen: &BTreeMap<ServerSet, ObservedServers>,
) -> Result<Nodes, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let names: BTreeSet<&String> = in_doubt(seen).filter_map(|(_, pod)| pod.node.as_ref()).collect();
    let mut nodes = Nodes::new();
    for name in names {
        if let Some(found) = permitted(api.get_opt(name).await, &format!("Node {name}"))? {
            nodes.insert(name.clone(), found);
        }
    }
    Ok(nodes)
}

/// Returns the servers whose replica is gone for good, each with the reason.
pub(super) async fn causes(
    client: &Client,
    seen: &BTreeMap<ServerSet, ObservedServers>,
    nodes: &Nodes,
) -> Result<BTreeMap<String, Cause>, Error> {
    let mut causes = BTreeMap::new();
    for (servers, pod) in in_doubt(seen) {
        let mut cause = pod.node.as_ref().and_then(|name| of_node(name, nodes));
        if let Some(claim) = servers.claim(&pod.name).filter(|_| cause.is_none()) {
            cause = of_volume(client, claim, pod).await?;
        }
        causes.extend(cause.map(|cause| (pod.name.clone(), cause)));
    }
    Ok(causes)
}

fn in_doubt(
    seen: &BTreeMap<ServerSet, ObservedServers>,
) -> impl Iterator<Item = (&ObservedServers, &ServerPod)> {
    let pods = seen.values().flat_map(|servers| servers.pods.values().map(move |pod| (servers, pod)));
    pods.filter(|(_, pod)| pod.is_in_doubt())
}

fn of_node(name: &str, nodes: &Nodes) -> Option<Cause> {
    match nodes.get(name)? {
        None => Some(Cause::NodeGone(name.to_owned())),
        Some(node) => is_out_of_service(node).then(|| Cause::OutOfService(name.to_owned())),
    }
}

async fn of_volume(client: &Client, claim: &Claim, pod: &ServerPod) -> Result<Option<Cause>, Error> {
    if claim.binding == Binding::Lost {
        return Ok(Some(Cause::VolumeGone));
    }
    // A pod that has a node was placed where its volume can be used.
    let Some(name) = claim.volume.as_ref().filter(|_| pod.node.is_none()) else { return Ok(None) };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let found = permitted(volumes.get_opt(name).await, &format!("PersistentVolume {name}"))?;
    let Some(found) = found else { return Ok(None) };
    let Some(volume) = found else { return Ok(Some(Cause::VolumeGone)) };
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(selectors) = selectors(&volume) else { return Ok(None) };
    for selector in selectors {
        let matching = ListParams::default().labels(&selector).limit(MANY_NODES);
        let Some(listed) = permitted(nodes.list(&matching).await, "nodes")? else { return Ok(None) };
        let are_more = listed.metadata.continue_.is_some_and(|token| !token.is_empty());
        if are_more || !listed.items.iter().all(is_out_of_service) {
            return Ok(None);
        }
    }
    Ok(Some(Cause::VolumeStranded))
}

/// Returns the answer; `None` if the operator has no right to it.
fn permitted<T>(answer: Result<T, kube::Error>, object: &str) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            tracing::warn!(object, "the operator may not read it: pods on it aren't known to be lost");
            Ok(None)
        }
        Err(error) => Err(Error::api("read", object, error)),
    }
}
