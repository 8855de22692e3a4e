//! The Kv service in front of one server.

use std::sync::Arc;

use futures::stream::BoxStream;
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::kv_server::Kv;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::label::Label;
use super::state::State;
use super::stream;

/// A relay to one server. If the server can't be asked, the answer is a broken connection, which
/// proves nothing to a clerk: the request may have arrived.
pub(super) struct Proxy {
    server: KvClient<Channel>,
    state: Arc<State>,
}

impl Proxy {
    pub(super) fn new(server: KvClient<Channel>, state: Arc<State>) -> Proxy {
        Proxy { server, state }
    }

    /// Carries a request to the server and the reply back, as well as the net does. A request that
    /// the clerk no longer waits for arrives all the same.
    async fn relay<R, F>(
        &self,
        label: Label,
        call: impl Fn(KvClient<Channel>) -> F,
    ) -> Result<Response<R>, Status>
    where
        R: Clone + Send + 'static,
        F: Future<Output = Result<Response<R>, Status>> + Send + 'static,
    {
        let (replies, mut arrived) = mpsc::unbounded_channel();
        for delay in self.state.request(&label) {
            let (replies, label, state) = (replies.clone(), label.clone(), Arc::clone(&self.state));
            let call = call(self.server.clone());
            tokio::spawn(async move {
                sleep(delay).await;
                let reply = call.await.map(Response::into_inner);
                for delay in state.reply(&label) {
                    let (replies, reply) = (replies.clone(), reply.clone());
                    tokio::spawn(async move {
                        sleep(delay).await;
                        // The clerk waits only for the first.
                        let _ = replies.send(reply);
                    });
                }
            });
        }
        drop(replies);
        match arrived.recv().await {
            Some(reply) => reply.map(Response::new),
            None => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Kv for Proxy {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let request = request.into_inner();
        let label = Label { key: request.key.to_vec(), id: None };
        self.relay(label, |mut server| {
            let request = request.clone();
            async move { server.get(request).await }
        })
        .await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let request = request.into_inner();
        let label = Label { key: request.key.to_vec(), id: request.id };
        self.relay(label, |mut server| {
            let request = request.clone();
            async move { server.put(request).await }
        })
        .await
    }

    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let request = request.into_inner();
        let label = Label { key: request.key.to_vec(), id: request.id };
        self.relay(label, |mut server| {
            let request = request.clone();
            async move { server.append(request).await }
        })
        .await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let request = request.into_inner();
        let label = Label { key: request.key.to_vec(), id: request.id };
        self.relay(label, |mut server| {
            let request = request.clone();
            async move { server.delete(request).await }
        })
        .await
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let request = request.into_inner();
        self.relay(Label::default(), |mut server| async move { server.open_session(request).await }).await
    }

    async fn get_shard_map(
        &self,
        request: Request<v1::GetShardMapRequest>,
    ) -> Result<Response<v1::ShardMap>, Status> {
        let request = request.into_inner();
        self.relay(Label::default(), |mut server| async move { server.get_shard_map(request).await }).await
    }

    type PipelineStream = BoxStream<'static, Result<v1::PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let answers = stream::relay(self.server.clone(), Arc::clone(&self.state), request.into_inner());
        Ok(Response::new(answers.await?))
    }
}
