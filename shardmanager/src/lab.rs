//! The lab's `ShardManager` service: the messages of `shardedkv.lab.v1` before the handlers of
//! [`Service`].

use skv_proto::lab::v1 as lab;
use skv_proto::lab::v1::shard_manager_server::ShardManager;
use skv_proto::v1;
use skv_proto::v1::shard_manager_server::ShardManager as _;
use tonic::{Request, Response, Status};

use crate::service::Service;

/// The service for clients that know only text and ports: it returns the group of a key.
#[derive(Debug)]
pub(crate) struct LabService {
    service: Service,
}

impl LabService {
    pub(crate) fn new(service: Service) -> Self {
        LabService { service }
    }
}

#[tonic::async_trait]
impl ShardManager for LabService {
    async fn get_shard_index(
        &self,
        request: Request<lab::GetShardIndexRequest>,
    ) -> Result<Response<lab::GetShardIndexResponse>, Status> {
        let lab::GetShardIndexRequest { key } = request.into_inner();
        let asked = v1::GetShardIndexRequest { key: key.into() };
        let found = self.service.get_shard_index(Request::new(asked)).await?.into_inner();
        Ok(Response::new(lab::GetShardIndexResponse { port: found.port }))
    }
}
