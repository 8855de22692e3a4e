//! The requests to shard managers and servers: questions and orders.

use std::sync::LazyLock;
use std::time::Duration;

use futures::future::BoxFuture;
use skv_net::Connector;
use skv_proto::v1;
use skv_proto::v1::admin_client::AdminClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_sharding::{GroupId, GroupUid, ReplicaId};
use tonic::transport::Channel;

/// The time to answer: a process that doesn't must not hold up other resources.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time for a hand-over, which waits for a voter that has the whole log, and for its election.
const HAND_OVER: Duration = Duration::from_secs(5);
/// The time for a change of the configuration, which is planned over all shards, and stored.
const CHANGE_OF_GROUPS: Duration = Duration::from_secs(10);
/// The time for a change of members, which commits two entries, or for the end of a group, one entry.
const CHANGE_OF_MEMBERS: Duration = Duration::from_secs(10);

/// Opens all connections, so that each attempt knows the addresses that the one before tried.
static CONNECTOR: LazyLock<Connector> = LazyLock::new(skv_net::tcp);

/// The state of a shard manager: the present map, and the newest configuration, which it is on the way to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ManagerState {
    pub(crate) map: v1::ShardMap,
    pub(crate) configuration: v1::Configuration,
}

/// The processes of resources, by address.
pub(crate) trait Servers: Send + Sync {
    /// Asks the shard manager at `HOST:PORT`; `None` if it has no map or can't be asked.
    fn manager_state<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<ManagerState>>;

    /// Asks the server at this peer address for its status; `None` if it can't be asked.
    fn status<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::StatusResponse>>;

    /// Has the leader at this peer address, if it still is the one that is meant, hand over to a voter of its
    /// choice or to this one. Returns once another leader was seen.
    fn hand_over<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        meant: v1::ReplicaIdentity,
        to: Option<ReplicaId>,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Has the leader at this peer address take a replica out of its group.
    fn remove_replica<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
        replica: ReplicaId,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Has the shard manager at `HOST:PORT` spread the shards over these groups too.
    fn join<'a>(&'a self, address: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>>;

    /// Has the shard manager at `HOST:PORT` drain these groups, so that they can be removed.
    fn leave<'a>(&'a self, address: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>>;

    /// Has the leader at this peer address end its group, which refuses while it has a shard.
    fn retire<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
    ) -> BoxFuture<'a, Result<(), String>>;
}

/// The processes as they are reached over the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network;

impl Servers for Network {
    fn manager_state<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<ManagerState>> {
        Box::pin(async move {
            let asked = async {
                let mut manager = ShardManagerClient::new(connect(address, PATIENCE).await?);
                let map = manager.get_shard_map(v1::GetShardMapRequest {}).await?.into_inner();
                let newest = v1::QueryRequest { number: None };
                anyhow::Ok(ManagerState { map, configuration: manager.query(newest).await?.into_inner() })
            };
            told(address, asked.await)
        })
    }

    fn status<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::StatusResponse>> {
        Box::pin(async move {
            let asked = async {
                let mut admin = AdminClient::new(connect(address, PATIENCE).await?);
                anyhow::Ok(admin.status(v1::StatusRequest {}).await?.into_inner())
            };
            told(address, asked.await)
        })
    }

    fn hand_over<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        meant: v1::ReplicaIdentity,
        to: Option<ReplicaId>,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let to = to.map_or(0, |to| to.0);
            let request = v1::TransferLeaderRequest { group: group.0, to, meant: Some(meant) };
            let mut admin = admin(address, HAND_OVER).await?;
            admin.transfer_leader(request).await.map_err(|status| status.message().to_owned())?;
            Ok(())
        })
    }

    fn remove_replica<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
        replica: ReplicaId,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let request = v1::RemoveReplicaRequest { group: group.0, group_uid: uid.0, replica: replica.0 };
            let mut admin = admin(address, CHANGE_OF_MEMBERS).await?;
            admin.remove_replica(request).await.map_err(|status| status.message().to_owned())?;
            Ok(())
        })
    }

    fn join<'a>(&'a self, address: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            // Joining twice changes nothing, so that no request id is needed.
            let request = v1::JoinRequest { groups: numbers(groups), ..v1::JoinRequest::default() };
            let mut manager = manager(address, CHANGE_OF_GROUPS).await?;
            manager.join(request).await.map_err(|status| status.message().to_owned())?;
            Ok(())
        })
    }

    fn leave<'a>(&'a self, address: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let request =
                v1::LeaveRequest { groups: numbers(groups), removal: true, ..v1::LeaveRequest::default() };
            let mut manager = manager(address, CHANGE_OF_GROUPS).await?;
            manager.leave(request).await.map_err(|status| status.message().to_owned())?;
            Ok(())
        })
    }

    fn retire<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let request = v1::RetireRequest { group: group.0, group_uid: uid.0 };
            let mut admin = admin(address, CHANGE_OF_MEMBERS).await?;
            admin.retire(request).await.map_err(|status| status.message().to_owned())?;
            Ok(())
        })
    }
}

fn numbers(groups: &[GroupId]) -> Vec<u32> {
    groups.iter().map(|group| group.0).collect()
}

async fn connect(address: &str, patience: Duration) -> anyhow::Result<Channel> {
    let settings = skv_net::endpoint(address)?.connect_timeout(PATIENCE).timeout(patience);
    Ok(skv_net::open(settings, &CONNECTOR, address).await?)
}

async fn admin(address: &str, patience: Duration) -> Result<AdminClient<Channel>, String> {
    let channel = connect(address, patience).await.map_err(|error| format!("{address}: {error}"))?;
    Ok(AdminClient::new(channel))
}

async fn manager(address: &str, patience: Duration) -> Result<ShardManagerClient<Channel>, String> {
    let channel = connect(address, patience).await.map_err(|error| format!("{address}: {error}"))?;
    Ok(ShardManagerClient::new(channel))
}

fn told<T>(address: &str, answer: anyhow::Result<T>) -> Option<T> {
    answer.inspect_err(|error| tracing::debug!(address, %error, "no answer")).ok()
}
