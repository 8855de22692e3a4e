//! The Kv service of one server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use skv_proto::v1::admin_server::AdminServer;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::kv_server::{Kv, KvServer};
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::listening::Listening;
use crate::seen::{Fate, Seen};
use crate::shared::Shared;

/// Starts server `index`.
pub(crate) fn listen(shared: &Arc<Shared>, index: usize) -> Listening {
    let service = FakeServer { shared: Arc::clone(shared), index };
    Listening::start(|incoming| {
        Server::builder()
            .add_service(KvServer::new(service.clone()))
            .add_service(AdminServer::new(service))
            .serve_with_incoming(incoming)
    })
}

#[derive(Clone)]
pub(crate) struct FakeServer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
}

/// The end of a transmission.
enum End {
    Answer(Box<Answer>),
    Silence,
    Break,
}

impl End {
    fn answer(answer: Answer) -> End {
        End::Answer(Box::new(answer))
    }
}

impl FakeServer {
    async fn handle(&self, operation: Operation, streamed: bool) -> End {
        let fate = {
            let mut seen = self.shared.seen.lock();
            let kind = std::mem::discriminant(&operation);
            let nth = seen.iter().filter(|seen| std::mem::discriminant(&seen.operation) == kind).count();
            let entry = Seen { server: self.index, nth, streamed, operation: operation.clone() };
            let fate = (self.shared.rule.lock())(&entry);
            seen.push(entry);
            fate
        };
        match fate {
            Fate::Serve => End::answer(self.shared.store.lock().apply(&operation)),
            Fate::Refuse(error) => End::answer(Answer::Error(error.into())),
            Fate::Lose => End::Silence,
            Fate::Mute => {
                self.shared.store.lock().apply(&operation);
                End::Silence
            }
            Fate::Break => {
                self.shared.store.lock().apply(&operation);
                End::Break
            }
            Fate::Hold(mut open) => {
                open.wait_for(|open| *open).await.unwrap();
                End::answer(self.shared.store.lock().apply(&operation))
            }
        }
    }

    async fn unary(&self, operation: Operation) -> Result<Answer, Status> {
        match self.handle(operation, false).await {
            End::Answer(answer) => match *answer {
                Answer::Error(error) => Err(Error::from(error).into()),
                answer => Ok(answer),
            },
            End::Silence => std::future::pending().await,
            End::Break => Err(Status::unavailable("a proxy's own words")),
        }
    }
}

#[tonic::async_trait]
impl Kv for FakeServer {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        match self.unary(Operation::Get(request.into_inner())).await? {
            Answer::Get(answer) => Ok(Response::new(answer)),
            other => unreachable!("{other:?}"),
        }
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        match self.unary(Operation::Put(request.into_inner())).await? {
            Answer::Put(answer) => Ok(Response::new(answer)),
            other => unreachable!("{other:?}"),
        }
    }

    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        match self.unary(Operation::Append(request.into_inner())).await? {
            Answer::Append(answer) => Ok(Response::new(answer)),
            other => unreachable!("{other:?}"),
        }
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        match self.unary(Operation::Delete(request.into_inner())).await? {
            Answer::Delete(answer) => Ok(Response::new(answer)),
            other => unreachable!("{other:?}"),
        }
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        if self.index < self.shared.without_sessions.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let told = self.shared.opens.lock().pop_front();
        let number = told.unwrap_or_else(|| self.shared.sessions.fetch_add(1, Ordering::Relaxed));
        let opened_at = number.max(request.into_inner().after + 1);
        let session = Some(v1::SessionId { opened_at, random: number });
        let ttl_ms = self.shared.ttl_ms.load(Ordering::Relaxed);
        Ok(Response::new(v1::OpenSessionResponse { session, ttl_ms }))
    }

    async fn get_shard_map(
        &self,
        _: Request<v1::GetShardMapRequest>,
    ) -> Result<Response<v1::ShardMap>, Status> {
        let map = self.shared.map.borrow().clone().filter(|_| *self.shared.copies.lock());
        map.map(Response::new).ok_or_else(|| Error::Unavailable("no map yet".into()).into())
    }

    type PipelineStream = BoxStream<'static, Result<v1::PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, outgoing) = mpsc::unbounded_channel();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                for operation in request.operations {
                    let (server, answers) = (server.clone(), answers.clone());
                    tokio::spawn(async move {
                        let end = server.handle(operation.operation.unwrap(), true).await;
                        let _ = match end {
                            End::Answer(answer) => {
                                let answer = v1::Answer { id: operation.id, answer: Some(*answer) };
                                answers.send(Ok(v1::PipelineResponse { answers: vec![answer] }))
                            }
                            End::Silence => Ok(()),
                            End::Break => answers.send(Err(Status::unavailable("a proxy's own words"))),
                        };
                    });
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(outgoing).boxed()))
    }
}
