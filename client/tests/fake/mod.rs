//! Servers and a shard manager in this process that do what a test tells them: they serve a
//! model of the store, and a rule decides the fate of every transmission.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

pub(crate) mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::kv_server::{Kv, KvServer};
use skv_proto::v1::operation::Operation;
use skv_proto::v1::shard_manager_server::{ShardManager, ShardManagerServer};
use skv_proto::{Error, ShardOwner, v1};
use skv_sharding::{Epoch, GroupId, GroupUid, Replica, ReplicaId, ShardId};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream, WatchStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use store::Store;

/// What becomes of one transmission.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It is applied and answered.
    Serve,
    /// It is answered with this error, and not applied.
    Refuse(Error),
    /// It is neither applied nor answered.
    Lose,
    /// It is applied and not answered.
    Mute,
    /// It is applied, and then the stream breaks, or the call ends with a status of nobody's.
    Break,
    /// It is served when this becomes true.
    Hold(watch::Receiver<bool>),
}

/// One transmission, as a server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Which server.
    pub(crate) server: usize,
    /// How many transmissions of this operation's kind came before, at all servers.
    pub(crate) nth: usize,
    /// Whether it came over a stream.
    pub(crate) streamed: bool,
    pub(crate) operation: Operation,
}

impl Seen {
    pub(crate) fn id(&self) -> Option<v1::RequestId> {
        match &self.operation {
            Operation::Get(_) => None,
            Operation::Put(r) => r.id,
            Operation::Append(r) => r.id,
            Operation::Delete(r) => r.id,
        }
    }

    pub(crate) fn seq(&self) -> u64 {
        self.id().unwrap().seq
    }

    pub(crate) fn session(&self) -> v1::SessionId {
        self.id().unwrap().session.unwrap()
    }

    pub(crate) fn key(&self) -> &[u8] {
        match &self.operation {
            Operation::Get(r) => &r.key,
            Operation::Put(r) => &r.key,
            Operation::Append(r) => &r.key,
            Operation::Delete(r) => &r.key,
        }
    }

    pub(crate) fn is_direct(&self) -> bool {
        match &self.operation {
            Operation::Get(r) => r.direct,
            Operation::Put(r) => r.direct,
            Operation::Append(r) => r.direct,
            Operation::Delete(r) => r.direct,
        }
    }

    pub(crate) fn is_mutation(&self) -> bool {
        !matches!(self.operation, Operation::Get(_))
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Fate + Send>;

/// What all servers share.
struct Shared {
    store: Mutex<Store>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    map: watch::Sender<Option<v1::ShardMap>>,
    /// Whether servers have a copy of the map.
    copies: Mutex<bool>,
    sessions: AtomicU64,
    ttl_ms: AtomicU64,
}

/// Servers and a manager, all in one group's or more groups' hands.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    servers: Vec<Listening>,
    manager: Listening,
}

/// A listener with a runtime of its own, so that it can be killed with all its connections.
struct Listening {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Listening {
    fn start<F>(serve: impl FnOnce(TcpListenerStream) -> F) -> Listening
    where
        F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let guard = runtime.enter();
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        drop(guard);
        runtime.spawn(serve(incoming).map(|end| end.unwrap()));
        Listening { address, runtime: Some(runtime) }
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            while std::net::TcpStream::connect(self.address).is_ok() {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The group of a number, in all fakes.
pub(crate) fn uid(group: u32) -> GroupUid {
    GroupUid(100 + u64::from(group))
}

impl Fake {
    /// One group of this many servers that owns this many shards.
    pub(crate) fn group(servers: usize, shards: u32) -> Fake {
        Fake::groups(&[servers], &vec![0; shards as usize])
    }

    /// Groups of so many servers each, and the group of each shard, all in epoch 1.
    pub(crate) fn groups(sizes: &[usize], owners: &[u32]) -> Fake {
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(owners.len() as u32)),
            rule: Mutex::new(Box::new(|_| Fate::Serve)),
            seen: Mutex::default(),
            map: watch::Sender::new(None),
            copies: Mutex::new(true),
            sessions: AtomicU64::new(1000),
            ttl_ms: AtomicU64::new(600_000),
        });
        let servers: Vec<Listening> = (0..sizes.iter().sum()).map(|index| listen(&shared, index)).collect();
        let mut fake = Fake { manager: listen_as_manager(&shared), shared, servers };
        let mut first = 0;
        let groups = (0..)
            .zip(sizes)
            .map(|(group, &size)| {
                let replicas = (first..first + size).map(|index| fake.replica(index).into()).collect();
                first += size;
                v1::Group { id: group, uid: uid(group).0, replicas, ..v1::Group::default() }
            })
            .collect();
        let ranges =
            (0..).zip(owners).map(|(first, &group)| v1::ShardRange { first, count: 1, group, epoch: 1 });
        fake.publish(v1::ShardMap {
            cluster_id: 7,
            revision: 1,
            configuration: 1,
            shards: owners.len() as u32,
            hash: v1::Hash::Fnv1 as i32,
            groups,
            ranges: ranges.collect(),
        });
        fake
    }

    pub(crate) fn publish(&mut self, map: v1::ShardMap) {
        self.shared.map.send_replace(Some(map));
    }

    pub(crate) fn map(&self) -> v1::ShardMap {
        self.shared.map.borrow().clone().unwrap()
    }

    /// Servers say that they have no copy of the map.
    pub(crate) fn without_copies(self) -> Fake {
        *self.shared.copies.lock() = false;
        self
    }

    /// From now on this decides about transmissions.
    pub(crate) fn rule(&self, rule: impl FnMut(&Seen) -> Fate + Send + 'static) {
        *self.shared.rule.lock() = Box::new(rule);
    }

    pub(crate) fn sessions_last(&self, ttl_ms: u64) {
        self.shared.ttl_ms.store(ttl_ms, Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    pub(crate) fn mutations(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(Seen::is_mutation).collect()
    }

    pub(crate) fn value(&self, key: &[u8]) -> Vec<u8> {
        self.shared.store.lock().value(key)
    }

    /// How many mutations changed the store.
    pub(crate) fn applied(&self) -> u64 {
        self.shared.store.lock().applied
    }

    pub(crate) fn manager(&self) -> String {
        self.manager.address.to_string()
    }

    pub(crate) fn server(&self, index: usize) -> String {
        self.servers[index].address.to_string()
    }

    pub(crate) fn replica(&self, index: usize) -> Replica {
        Replica {
            id: ReplicaId(index as u64 + 1),
            server: format!("kv-{index}"),
            client_address: self.server(index),
            peer_address: "127.0.0.1:1".to_owned(),
            instance: String::new(),
        }
    }

    pub(crate) fn kill_manager(&mut self) {
        self.manager.kill();
    }

    pub(crate) fn kill_server(&mut self, index: usize) {
        self.servers[index].kill();
    }

    pub(crate) fn not_leader(&self, leader: Option<usize>, term: u64) -> Fate {
        let leader = leader.map(|index| self.replica(index));
        Fate::Refuse(Error::NotLeader { group: GroupId(0), leader, term })
    }

    /// `shard` belongs to `group`, whose servers these are.
    pub(crate) fn owner(&self, shard: u32, group: u32, epoch: u64, servers: &[usize]) -> ShardOwner {
        ShardOwner {
            shard: ShardId(shard),
            group: GroupId(group),
            uid: uid(group),
            epoch: Epoch(epoch),
            replicas: servers.iter().map(|&index| self.replica(index)).collect(),
        }
    }
}

fn listen(shared: &Arc<Shared>, index: usize) -> Listening {
    let service = FakeServer { shared: Arc::clone(shared), index };
    Listening::start(|incoming| {
        Server::builder().add_service(KvServer::new(service)).serve_with_incoming(incoming)
    })
}

fn listen_as_manager(shared: &Arc<Shared>) -> Listening {
    let service = FakeManager { shared: Arc::clone(shared) };
    Listening::start(|incoming| {
        Server::builder().add_service(ShardManagerServer::new(service)).serve_with_incoming(incoming)
    })
}

#[derive(Clone)]
struct FakeServer {
    shared: Arc<Shared>,
    index: usize,
}

/// How a transmission ends.
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
        let number = self.shared.sessions.fetch_add(1, Ordering::Relaxed);
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
        let maps = WatchStream::new(self.shared.map.subscribe());
        Ok(Response::new(maps.flat_map(|map| stream::iter(map.map(Ok))).boxed()))
    }

    async fn get_shard_map(
        &self,
        _: Request<v1::GetShardMapRequest>,
    ) -> Result<Response<v1::ShardMap>, Status> {
        unused()
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
}
