//! The shard manager.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use skv_proto::v1::shard_manager_server::{ShardManager, ShardManagerServer};
use skv_proto::{Error, v1};
use tokio_stream::wrappers::WatchStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::listening::Listening;
use crate::shared::Shared;

/// Starts the manager.
pub(crate) fn listen(shared: &Arc<Shared>) -> Listening {
    let service = FakeManager { shared: Arc::clone(shared) };
    Listening::start(|incoming| {
        Server::builder().add_service(ShardManagerServer::new(service)).serve_with_incoming(incoming)
    })
}

struct FakeManager {
    shared: Arc<Shared>,
}

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not part of these tests"))
}

#[tonic::async_trait]
impl ShardManager for FakeManager {
    type WatchShardMapStream = BoxStream<'static, Result<v1::ShardMap, Status>>;

    async fn watch_shard_map(
        &self,
        _: Request<v1::WatchShardMapRequest>,
    ) -> Result<Response<Self::WatchShardMapStream>, Status> {
        if self.shared.is_crowded.load(Ordering::Relaxed) {
            return Err(Error::Overloaded("all watches are open".into()).into());
        }
        let maps = WatchStream::new(self.shared.map.subscribe());
        Ok(Response::new(maps.flat_map(|map| stream::iter(map.map(Ok))).boxed()))
    }

    async fn get_shard_map(
        &self,
        _: Request<v1::GetShardMapRequest>,
    ) -> Result<Response<v1::ShardMap>, Status> {
        let map = self.shared.map.borrow().clone();
        map.map(Response::new).ok_or_else(|| Error::Unavailable("no map yet".into()).into())
    }

    async fn get_shard_index(
        &self,
        _: Request<v1::GetShardIndexRequest>,
    ) -> Result<Response<v1::GetShardIndexResponse>, Status> {
        unused()
    }

    async fn register_replica(
        &self,
        _: Request<v1::RegisterReplicaRequest>,
    ) -> Result<Response<v1::RegisterReplicaResponse>, Status> {
        unused()
    }

    async fn query(&self, _: Request<v1::QueryRequest>) -> Result<Response<v1::Configuration>, Status> {
        unused()
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        unused()
    }

    async fn leave(&self, _: Request<v1::LeaveRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        unused()
    }

    async fn r#move(&self, _: Request<v1::MoveRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        unused()
    }

    async fn unpin(&self, _: Request<v1::UnpinRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        unused()
    }

    async fn rebalance(
        &self,
        _: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        unused()
    }
}
