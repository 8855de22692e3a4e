//! The Admin service of one server, on the same listener as Kv.

use skv_proto::v1::admin_server::Admin;
use skv_proto::{Error, v1};
use tonic::{Request, Response, Status};

use crate::kv::FakeServer;
use crate::seen::AdminCall;
use crate::uid;

/// Returns the status of the replica of server `index`, in a group that the server `leader` leads.
pub(crate) fn healthy(group: u32, index: usize, leader: usize) -> v1::ReplicaStatus {
    let state = if index == leader { v1::ReplicaState::Leader } else { v1::ReplicaState::Follower };
    let log_id = Some(v1::LogId { term: 1, replica: leader as u64 + 1, index: 10 });
    v1::ReplicaStatus {
        group,
        group_uid: uid(group).0,
        replica: index as u64 + 1,
        state: state as i32,
        ready: true,
        term: 1,
        leader: leader as u64 + 1,
        last_log: log_id,
        applied: log_id,
        ..v1::ReplicaStatus::default()
    }
}

#[tonic::async_trait]
impl Admin for FakeServer {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let replicas = vec![self.shared.statuses.lock()[self.index].clone()];
        Ok(Response::new(v1::StatusResponse { replicas, ..v1::StatusResponse::default() }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let to = request.into_inner().to;
        self.shared.admin.lock().push(AdminCall::TransferLeader { server: self.index, to });
        Ok(Response::new(v1::TransferLeaderResponse { leader: to }))
    }

    async fn remove_replica(
        &self,
        request: Request<v1::RemoveReplicaRequest>,
    ) -> Result<Response<v1::RemoveReplicaResponse>, Status> {
        let replica = request.into_inner().replica;
        self.shared.admin.lock().push(AdminCall::RemoveReplica { server: self.index, replica });
        Ok(Response::new(v1::RemoveReplicaResponse {}))
    }

    async fn shards(&self, _: Request<v1::ShardsRequest>) -> Result<Response<v1::ShardsResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn retire(&self, _: Request<v1::RetireRequest>) -> Result<Response<v1::RetireResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn snapshot(
        &self,
        _: Request<v1::SnapshotRequest>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn reset(&self, request: Request<v1::ResetRequest>) -> Result<Response<v1::ResetResponse>, Status> {
        let status = self.shared.statuses.lock()[self.index].clone();
        let shown = v1::ReplicaIdentity {
            cluster_id: status.cluster_id,
            group_uid: status.group_uid,
            incarnation: status.incarnation,
            replica: status.replica,
        };
        if request.into_inner().meant != Some(shown) {
            return Err(Error::WrongIdentity("it isn't the replica that was shown".into()).into());
        }
        self.shared.admin.lock().push(AdminCall::Reset { server: self.index });
        let duration = *self.shared.resets_take.lock();
        tokio::time::sleep(duration).await;
        let former_dir = "/data/former/g0-1".to_owned();
        Ok(Response::new(v1::ResetResponse { incarnation: 1, last_log: status.last_log, former_dir }))
    }

    async fn remove_former(
        &self,
        request: Request<v1::RemoveFormerRequest>,
    ) -> Result<Response<v1::RemoveFormerResponse>, Status> {
        let v1::RemoveFormerRequest { cluster_id, group_uid, .. } = request.into_inner();
        let map = self.shared.map.borrow().clone();
        let is_meant = map.is_some_and(|map| {
            map.cluster_id == cluster_id && map.groups.iter().any(|group| group.uid == group_uid)
        });
        if !is_meant {
            return Err(Error::WrongIdentity("it isn't the group that was shown".into()).into());
        }
        self.shared.admin.lock().push(AdminCall::RemoveFormer { server: self.index });
        Ok(Response::new(v1::RemoveFormerResponse { bytes: 1 << 20 }))
    }
}
