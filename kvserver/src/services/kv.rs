//! The Kv service: unary calls that are forwarded where need be, and the pipeline.

use std::sync::Arc;

use futures::stream::BoxStream;
use skv_client::{Forwarder, Reply};
use skv_disk::clock::Clock;
use skv_disk::entropy;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::kv_server;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_replica::Replicas;
use skv_replica::map_copy::MapCopy;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::operations::Operations;
use super::pipeline;

/// Serves users.
#[derive(Debug, Clone)]
pub(crate) struct KvService {
    operations: Operations,
    replicas: Arc<Replicas>,
    map: Arc<MapCopy>,
    forwarder: Arc<Forwarder>,
    clock: Clock,
    closed: CancellationToken,
}

impl KvService {
    /// Serves by these replicas, and by those that the map names. Streams end once the listener
    /// is `closed`.
    pub(crate) fn new(
        operations: Operations,
        replicas: Arc<Replicas>,
        map: Arc<MapCopy>,
        forwarder: Arc<Forwarder>,
        clock: Clock,
        closed: CancellationToken,
    ) -> Self {
        KvService { operations, replicas, map, forwarder, clock, closed }
    }

    /// Carries an operation out here, or passes it on to who can, once.
    async fn answer(&self, operation: Operation, direct: bool) -> Result<Answer, Status> {
        if direct {
            return Ok(self.operations.one(operation).await?);
        }
        let error = match self.operations.one(operation.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let (group, addresses) = match &error {
            Error::NotLeader { group, leader, .. } => {
                let leader = leader.iter().map(|leader| leader.client_address.clone());
                let others = self.map.members(*group).into_iter().map(|member| member.client_address);
                let mut addresses: Vec<String> = leader.collect();
                addresses.extend(others.filter(|a| !addresses.contains(a)).collect::<Vec<_>>());
                (*group, addresses)
            }
            // A shard on its way is answered for by its target, which waits until it has it.
            Error::WrongGroup { owner: Some(owner), .. } | Error::ShardMoving { target: Some(owner), .. } => {
                let addresses = owner.replicas.iter().map(|replica| replica.client_address.clone());
                (owner.group, addresses.collect())
            }
            _ => return Err(error.into()),
        };
        if addresses.is_empty() {
            return Err(error.into());
        }
        let direct = marked_direct(operation);
        let reply = self.forwarder.forward(group, addresses.iter().map(String::as_str), &direct).await?;
        Ok(match reply {
            Reply::Get(get) => Answer::Get(get),
            Reply::Put(put) => Answer::Put(put),
            Reply::Append(append) => Answer::Append(append),
            Reply::Delete(delete) => Answer::Delete(delete),
        })
    }
}

/// Marks an operation so that the next server doesn't forward it again.
fn marked_direct(mut operation: Operation) -> Operation {
    match &mut operation {
        Operation::Get(v1::GetRequest { direct, .. })
        | Operation::Put(v1::PutRequest { direct, .. })
        | Operation::Append(v1::AppendRequest { direct, .. })
        | Operation::Delete(v1::DeleteRequest { direct, .. }) => *direct = true,
    }
    operation
}

fn mismatch() -> Status {
    Error::Internal("the answer is of another kind than the request".into()).into()
}

#[tonic::async_trait]
impl kv_server::Kv for KvService {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let get = request.into_inner();
        let direct = get.direct;
        match self.answer(Operation::Get(get), direct).await? {
            Answer::Get(response) => Ok(Response::new(response)),
            _ => Err(mismatch()),
        }
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let put = request.into_inner();
        let direct = put.direct;
        match self.answer(Operation::Put(put), direct).await? {
            Answer::Put(response) => Ok(Response::new(response)),
            _ => Err(mismatch()),
        }
    }

    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let append = request.into_inner();
        let direct = append.direct;
        match self.answer(Operation::Append(append), direct).await? {
            Answer::Append(response) => Ok(Response::new(response)),
            _ => Err(mismatch()),
        }
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let delete = request.into_inner();
        let direct = delete.direct;
        match self.answer(Operation::Delete(delete), direct).await? {
            Answer::Delete(response) => Ok(Response::new(response)),
            _ => Err(mismatch()),
        }
    }

    /// Any server may give a session out: its time only has to lie near that of the shards.
    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let after = request.into_inner().after;
        let facts = self.replicas.iter().find_map(|replica| replica.running().ok()?.store.facts());
        let facts = facts.ok_or_else(|| Error::Unavailable("no group is founded here yet".into()))?;
        let opened_at = self.clock.now_ms().max(after.saturating_add(1));
        let session = v1::SessionId { opened_at, random: entropy::random_id() };
        let ttl_ms = facts.limits.session_ttl_ms;
        Ok(Response::new(v1::OpenSessionResponse { session: Some(session), ttl_ms }))
    }

    async fn get_shard_map(
        &self,
        _request: Request<v1::GetShardMapRequest>,
    ) -> Result<Response<v1::ShardMap>, Status> {
        let map = self.map.to_wire();
        let map = map.ok_or_else(|| Error::Unavailable("this server has no shard map yet".into()))?;
        Ok(Response::new(map))
    }

    type PipelineStream = BoxStream<'static, Result<v1::PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let answers = pipeline::serve(self.operations.clone(), request, self.closed.clone());
        Ok(Response::new(answers))
    }
}
