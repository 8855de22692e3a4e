//! Looks at a resource live: nothing in the result comes from a cache.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skv_operator_plan::names::{INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER, Names, ServerSet};
use skv_operator_plan::observed::{Objects, Observed, ObservedServers, observe};
use skv_operator_plan::placement;
use skv_operator_plan::pods::{PodState, ServerPod};
use skv_operator_plan::rollout::{Leader, Look, Members};
use skv_proto::v1;
use skv_resource::{ShardedKv, ShardedKvSpec};
use skv_sharding::GroupId;

use super::losses::{self, Nodes};
use crate::accepted::{Accepted, accept};
use crate::error::Error;
use crate::servers::Servers;
use crate::unread::Unread;

/// Looks at a resource; returns the fields of its status that can't be read, too. Returns `None` if the resource is
/// gone.
pub(crate) async fn look(
    client: &Client,
    servers: &dyn Servers,
    names: &Names,
    now: Timestamp,
) -> Result<Option<(Look, Unread)>, Error> {
    let title = format!("ShardedKV {}", names.resource);
    let kind = ApiResource::erase::<ShardedKv>(&());
    let resources: Api<DynamicObject> = Api::namespaced_with(client.clone(), &names.namespace, &kind);
    let found =
        resources.get_opt(&names.resource).await.map_err(|error| Error::api("read", &title, error))?;
    // One that can't be used any more has changed.
    let accepted = found.and_then(|object| accept(&object, || None).ok());
    let Some(Accepted { resource, unread, .. }) = accepted else { return Ok(None) };
    let objects = Objects {
        sets: list::<StatefulSet>(client, names).await?,
        pods: list::<Pod>(client, names).await?,
        claims: list::<PersistentVolumeClaim>(client, names).await?,
        deployments: list::<Deployment>(client, names).await?,
    };
    let Observed { servers: seen, managers_rolled_out, wanted_replicas, .. } = observe(&objects, now);
    let members = members(servers, &resource.spec, &seen).await;
    let later = later(servers, &seen, &members).await;
    let nodes = losses::nodes(client, &seen).await?;
    let causes = losses::causes(client, &seen, &nodes).await?;
    let lost_nodes = lost_nodes(&seen, &nodes);
    let look = Look {
        resource,
        servers: seen,
        managers_rolled_out,
        wanted_replicas,
        members,
        later,
        lost_nodes,
        causes,
        now,
    };
    Ok(Some((look, unread)))
}

/// The answer to a request for a list. The client's own type reads a whole list as values of any form before it
/// reads them as what they are, which takes several times as long and as much memory.
#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
struct List<K> {
    /// The objects; null if there are none. An answer that lacks them is no list.
    #[serde(deserialize_with = "Option::deserialize")]
    items: Option<Vec<K>>,
}

async fn list<K: Resource<DynamicType = ()> + DeserializeOwned>(
    client: &Client,
    names: &Names,
) -> Result<Vec<K>, Error> {
    let ours = ListParams::default()
        .labels(&format!("{MANAGED_BY_LABEL}={MANAGER},{INSTANCE_LABEL}={}", names.resource));
    let failed = |error| Error::api("list", &K::plural(&()), error);
    let all = Request::new(K::url_path(&(), Some(names.namespace.as_str())));
    let request = all.list(&ours).map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    let listed: List<K> = client.request(request).await.map_err(failed)?;
    Ok(listed.items.unwrap_or_default())
}

/// Asks all servers at once.
async fn members(
    servers: &dyn Servers,
    spec: &ShardedKvSpec,
    seen: &BTreeMap<ServerSet, ObservedServers>,
) -> BTreeMap<GroupId, Members> {
    let pods = seen.values().flat_map(|servers| servers.pods.values());
    let asked = join_all(pods.map(async |pod| Some((pod, status(servers, pod).await?)))).await;
    let answers: Vec<(&ServerPod, v1::StatusResponse)> = asked.into_iter().flatten().collect();
    let of_group = |group: GroupId| {
        let statuses =
            answers.iter().filter_map(|(pod, answer)| Some((pod.name.clone(), replica_of(answer, group)?)));
        (group, Members::from_statuses(&statuses.collect()))
    };
    placement::groups(spec, seen.keys()).into_iter().map(of_group).collect()
}

/// Asks the leaders once more.
async fn later(
    servers: &dyn Servers,
    seen: &BTreeMap<ServerSet, ObservedServers>,
    members: &BTreeMap<GroupId, Members>,
) -> BTreeMap<GroupId, Leader> {
    let leading = members.iter().filter_map(|(id, members)| {
        let leader = members.leader.as_ref()?;
        Some((*id, seen.values().find_map(|servers| servers.pod(&leader.server))?))
    });
    let asked = leading.map(async |(id, pod)| {
        let replica = replica_of(&status(servers, pod).await?, id)?;
        Some((id, Members::from_statuses(&[(pod.name.clone(), replica)].into()).leader?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Asks a pod's server for its status. Another server may have its address by now.
pub(crate) async fn status(servers: &dyn Servers, pod: &ServerPod) -> Option<v1::StatusResponse> {
    let answer = servers.status(pod.peer_address.as_ref()?).await?;
    (answer.server == pod.name).then_some(answer)
}

fn replica_of(answer: &v1::StatusResponse, group: GroupId) -> Option<v1::ReplicaStatus> {
    answer.replicas.iter().find(|replica| replica.group == group.0).cloned()
}

/// Returns the nodes that are lost, of those on which a pod is being deleted.
fn lost_nodes(seen: &BTreeMap<ServerSet, ObservedServers>, nodes: &Nodes) -> BTreeSet<String> {
    let pods = seen.values().flat_map(|servers| servers.pods.values());
    let left = pods.filter(|pod| pod.state == PodState::Leaving).filter_map(|pod| pod.node.as_ref());
    let is_lost = |node: &Option<Node>| node.as_ref().is_none_or(|node| !answers(node));
    left.filter(|name| nodes.get(*name).is_some_and(is_lost)).cloned().collect()
}

fn answers(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && node.meta().deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_have_null_in_place_of_no_items_and_must_have_something() {
        let list = serde_json::from_str::<List<Pod>>;
        for empty in [r#"{ "items": [] }"#, r#"{ "items": null }"#] {
            assert!(list(empty).unwrap().items.unwrap_or_default().is_empty(), "{empty}");
        }
        assert!(list("{}").is_err());
    }
}
