//! The Admin service: what operators of a server ask of it.

use std::sync::Arc;

use skv_proto::v1::admin_server;
use skv_proto::{Error, v1};
use skv_raft::wire::Wire as _;
use skv_replica::{Environment, HandoverError, RemovalError, Replicas, Revived, Running};
use skv_sharding::{ClusterId, GroupId, GroupUid, ReplicaId};
use skv_store::{ShardState, Summary};
use tonic::{Request, Response, Status};

/// Serves operators.
#[derive(Clone)]
pub(crate) struct AdminService {
    replicas: Arc<Replicas>,
    env: Arc<Environment>,
}

impl AdminService {
    /// Serves for these replicas.
    pub(crate) fn new(replicas: Arc<Replicas>, env: Arc<Environment>) -> Self {
        AdminService { replicas, env }
    }

    /// The replica of a group, if it is the one of this identity.
    fn exactly(&self, group: u32, uid: u64) -> Result<Arc<Running>, Error> {
        let running = self.replicas.get(GroupId(group))?.running()?;
        let (theirs, ours) = (GroupUid(uid), running.place.uid);
        if theirs != ours {
            let group = running.place.group;
            return Err(Error::WrongIdentity(format!("{group} here is group {ours}, not {theirs}")));
        }
        Ok(running)
    }
}

#[tonic::async_trait]
impl admin_server::Admin for AdminService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(v1::StatusResponse {
            server: self.env.server.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: self.replicas.iter().map(|replica| replica.status()).collect(),
            memory_used_bytes: self.env.memory.used(),
            memory_edge_bytes: self.env.memory.limit().map_or(0, |_| self.env.memory.edge()),
            memory_limit_bytes: self.env.memory.limit().unwrap_or(0),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        let replica = self.replicas.get(GroupId(request.group))?;
        replica.check_identity(request.meant)?;
        let running = replica.running()?;
        let to = (request.to != 0).then_some(ReplicaId(request.to));
        let leader = running.hand_over(to).await.map_err(|error| match error {
            HandoverError::NotLeader => running.hints.not_leader(None),
            HandoverError::NotAVoter(_) => Error::InvalidArgument(error.to_string()),
            HandoverError::NoTarget
            | HandoverError::NobodyCaughtUp
            | HandoverError::NotTaken
            | HandoverError::Alone => Error::Unavailable(error.to_string()),
        })?;
        Ok(Response::new(v1::TransferLeaderResponse { leader: leader.0 }))
    }

    async fn remove_replica(
        &self,
        request: Request<v1::RemoveReplicaRequest>,
    ) -> Result<Response<v1::RemoveReplicaResponse>, Status> {
        let request = request.into_inner();
        let running = self.exactly(request.group, request.group_uid)?;
        running.remove(ReplicaId(request.replica)).await.map_err(|error| match error {
            RemovalError::NotLeader => running.hints.not_leader(None),
            RemovalError::LastVoter(_) | RemovalError::Leads(_) => Error::InvalidArgument(error.to_string()),
            RemovalError::ChangeInProgress | RemovalError::NoQuorum { .. } => {
                Error::Unavailable(error.to_string())
            }
            RemovalError::Unfinished(..) => Error::OutcomeUnknown(error.to_string()),
        })?;
        Ok(Response::new(v1::RemoveReplicaResponse {}))
    }

    async fn shards(
        &self,
        request: Request<v1::ShardsRequest>,
    ) -> Result<Response<v1::ShardsResponse>, Status> {
        let running = self.replicas.get(GroupId(request.into_inner().group))?.running()?;
        let shards = running.store.shards().into_iter().map(shard_status).collect();
        Ok(Response::new(v1::ShardsResponse { shards }))
    }

    async fn retire(
        &self,
        request: Request<v1::RetireRequest>,
    ) -> Result<Response<v1::RetireResponse>, Status> {
        let request = request.into_inner();
        self.exactly(request.group, request.group_uid)?.retire().await?;
        Ok(Response::new(v1::RetireResponse {}))
    }

    async fn snapshot(
        &self,
        request: Request<v1::SnapshotRequest>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        let running = self.replicas.get(GroupId(request.into_inner().group))?.running()?;
        let snapshot = running.snapshot().await;
        let snapshot =
            snapshot.ok_or_else(|| Error::Unavailable("no snapshot could be written; see the log".into()))?;
        Ok(Response::new(v1::SnapshotResponse { snapshot: Some(snapshot.to_wire()) }))
    }

    async fn reset(&self, request: Request<v1::ResetRequest>) -> Result<Response<v1::ResetResponse>, Status> {
        let request = request.into_inner();
        if !request.accept_data_loss {
            let error = Error::InvalidArgument(
                "a reset loses what this replica hasn't seen: it must be accepted explicitly".into(),
            );
            return Err(error.into());
        }
        let Revived { incarnation, last, former } =
            self.replicas.get(GroupId(request.group))?.reset(request.meant).await?;
        Ok(Response::new(v1::ResetResponse {
            incarnation: incarnation.0,
            last_log: Some(last.to_wire()),
            former_dir: former.display().to_string(),
        }))
    }

    async fn remove_former(
        &self,
        request: Request<v1::RemoveFormerRequest>,
    ) -> Result<Response<v1::RemoveFormerResponse>, Status> {
        let v1::RemoveFormerRequest { group, cluster_id, group_uid } = request.into_inner();
        let meant = (group_uid != 0).then_some((ClusterId(cluster_id), GroupUid(group_uid)));
        let bytes = self.replicas.get(GroupId(group))?.remove_former(&self.env, meant).await?;
        Ok(Response::new(v1::RemoveFormerResponse { bytes }))
    }
}

fn shard_status(summary: Summary) -> v1::ShardStatus {
    use v1::shard_status::State;
    let state = match summary.state {
        ShardState::Served => State::Served,
        ShardState::Queued => State::Queued,
        ShardState::Copying => State::Copying,
        ShardState::Frozen => State::Frozen,
        ShardState::Arriving => State::Arriving,
    };
    v1::ShardStatus {
        shard: summary.shard.0,
        epoch: summary.epoch.0,
        state: state as i32,
        keys: summary.keys,
        bytes: summary.bytes,
        other: summary.other.map(|group| group.0),
    }
}
