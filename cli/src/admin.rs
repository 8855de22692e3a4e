//! The state of servers, from their peer listeners.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use skv_proto::v1;
use skv_proto::v1::admin_client::AdminClient;
use skv_sharding::GroupId;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::target::{Target, explain};

/// A replica that doesn't return its shards within this time is passed over for the next one.
const SHARDS_WITHIN: Duration = Duration::from_secs(2);

/// A replica of the shard map, with the status that its server returned.
pub(crate) struct Member {
    pub(crate) group: GroupId,
    pub(crate) replica: v1::Replica,
    pub(crate) status: anyhow::Result<v1::ReplicaStatus>,
}

impl Member {
    /// Returns true if it says that it leads, and a majority answers it.
    pub(crate) fn leads_a_quorum(&self) -> bool {
        self.status.as_ref().is_ok_and(v1::ReplicaStatus::leads_a_quorum)
    }
}

pub(crate) fn is_leader(status: &v1::ReplicaStatus) -> bool {
    status.state() == v1::ReplicaState::Leader
}

/// Asks every server of the map at the same time.
pub(crate) async fn members(target: &Target, map: &v1::ShardMap) -> Vec<Member> {
    let all = map.groups.iter().flat_map(|group| {
        group.replicas.iter().map(move |replica| async move {
            let status = status(target, &replica.peer_address, GroupId(group.id)).await;
            Member { group: GroupId(group.id), replica: replica.clone(), status }
        })
    });
    join_all(all).await
}

/// Returns the status of a group's replica from the server at this peer address.
pub(crate) async fn status(
    target: &Target,
    address: &str,
    group: GroupId,
) -> anyhow::Result<v1::ReplicaStatus> {
    let mut client = connect(target, address).await?;
    let answer = client.status(v1::StatusRequest {}).await.map_err(|status| explain(&status, address))?;
    let of_group = answer.into_inner().replicas.into_iter().find(|status| status.group == group.0);
    of_group.with_context(|| format!("{address} holds no replica of {group}"))
}

/// Returns the state of each shard in a group: from the leader if it answers, else from another
/// replica, which knows as much as it has applied.
pub(crate) async fn shards(target: &Target, group: &v1::Group) -> anyhow::Result<Vec<v1::ShardStatus>> {
    let (leader, others): (Vec<_>, Vec<_>) =
        group.replicas.iter().partition(|replica| group.leader != 0 && replica.id == group.leader);
    let mut problem = anyhow::anyhow!("{} has no replica", GroupId(group.id));
    for replica in leader.into_iter().chain(others) {
        match timeout(SHARDS_WITHIN, shards_by(target, group, replica)).await {
            Ok(Ok(shards)) => return Ok(shards),
            Ok(Err(error)) => problem = error,
            Err(_) => problem = anyhow::anyhow!("{} doesn't answer", replica.peer_address),
        }
    }
    Err(problem)
}

async fn shards_by(
    target: &Target,
    group: &v1::Group,
    replica: &v1::Replica,
) -> anyhow::Result<Vec<v1::ShardStatus>> {
    let address = &replica.peer_address;
    let answer = connect(target, address).await?.shards(v1::ShardsRequest { group: group.id }).await;
    Ok(answer.map_err(|status| explain(&status, address))?.into_inner().shards)
}

pub(crate) async fn connect(target: &Target, address: &str) -> anyhow::Result<AdminClient<Channel>> {
    Ok(AdminClient::new(target.dial(address).await?))
}

/// A connection for requests that take a server several steps: the server itself limits their time.
pub(crate) async fn connect_patiently(
    target: &Target,
    address: &str,
) -> anyhow::Result<AdminClient<Channel>> {
    Ok(AdminClient::new(target.dial_patiently(address).await?))
}
