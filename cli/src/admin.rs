//! What servers say of themselves on their peer listeners.

use futures::future::join_all;
use skv_proto::v1;
use skv_proto::v1::admin_client::AdminClient;
use skv_sharding::GroupId;
use tonic::transport::Channel;

use crate::target::{Target, explain};

/// One replica of the shard map, and what its server says of it.
pub(crate) struct Member {
    pub(crate) group: GroupId,
    pub(crate) replica: v1::Replica,
    pub(crate) status: anyhow::Result<v1::ReplicaStatus>,
}

impl Member {
    /// Whether it says that it leads, and a majority answers it.
    pub(crate) fn leads_a_quorum(&self) -> bool {
        self.status.as_ref().is_ok_and(|status| is_leader(status) && status.quorum_lost_ms == 0)
    }
}

pub(crate) fn is_leader(status: &v1::ReplicaStatus) -> bool {
    status.state() == v1::ReplicaState::Leader
}

/// Asks every server of the map at once.
pub(crate) async fn members(target: &Target, map: &v1::ShardMap) -> Vec<Member> {
    let all = map.groups.iter().flat_map(|group| {
        group.replicas.iter().map(move |replica| async move {
            let status = status(target, group, replica).await;
            Member { group: GroupId(group.id), replica: replica.clone(), status }
        })
    });
    join_all(all).await
}

async fn status(
    target: &Target,
    group: &v1::Group,
    replica: &v1::Replica,
) -> anyhow::Result<v1::ReplicaStatus> {
    let address = &replica.peer_address;
    let mut client = connect(target, address).await?;
    let answer = client.status(v1::StatusRequest {}).await.map_err(|status| explain(&status, address))?;
    let of_group = answer.into_inner().replicas.into_iter().find(|status| status.group == group.id);
    of_group.ok_or_else(|| anyhow::anyhow!("{address} holds no replica of {}", GroupId(group.id)))
}

pub(crate) async fn connect(target: &Target, address: &str) -> anyhow::Result<AdminClient<Channel>> {
    Ok(AdminClient::new(target.dial(address).await?))
}
