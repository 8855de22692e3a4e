//! openraft's network: one replica's connections to the others of its group.
//!
//! Log entries travel in one bidirectional stream per peer, pipelined. Heartbeats, which
//! also carry the ReadIndex rounds, have a stream and a connection of their own, so that
//! they never wait behind entries or a snapshot.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use skv_net::{Addresses, Listener};
use skv_net::{Dial, MESSAGE_LIMIT};
use skv_proto::v1::append_entries_request::Message as Outgoing;
use skv_proto::v1::append_entries_response::Result as Incoming;
use skv_proto::v1::raft_client::RaftClient;
use skv_proto::{Error, v1};
use skv_sharding::ReplicaId;
use skv_snapshot::SnapshotFile;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::transport::Channel;

use super::append;
use super::full_peers::FullPeers;
use super::header::Place;
use super::receiving::Receiving;
use super::transfer;
use super::types::{LogId, ServerName, TypeConfig, Vote};
use super::wire::{Wire, WireError};

/// The time after which a stream whose oldest request got no answer is given up and opened again.
/// Generous: a tight bound would cut off a follower that waits for its disk.
const STALL: Duration = Duration::from_secs(10);
/// The longest time in which a stream opens.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time of a vote: with a fsync at the other end, and well below an election.
const VOTE_TIMEOUT: Duration = Duration::from_millis(500);
/// The number of heartbeats that may wait for a connection.
const HEARTBEAT_QUEUE: usize = 8;

type StreamItem = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Makes the connections of one replica.
#[derive(Clone)]
pub(crate) struct NetworkFactory {
    place: Place,
    addresses: Arc<Addresses>,
    dial: Dial,
    full_peers: FullPeers,
    receiving: Receiving,
}

impl NetworkFactory {
    /// Makes connections from the replica at `place`.
    pub(crate) fn new(place: Place, addresses: Arc<Addresses>, dial: Dial, full_peers: FullPeers) -> Self {
        NetworkFactory { place, addresses, dial, full_peers, receiving: Receiving::default() }
    }

    /// Returns true if this replica runs on this server now, and accepts messages from us.
    pub(crate) async fn reaches(&self, target: ReplicaId, server: &str) -> bool {
        self.peer(target, server).open(stream::empty()).await.is_ok()
    }

    /// Returns the followers that receive a snapshot from this replica now.
    pub(crate) fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    fn peer(&self, target: ReplicaId, server: &str) -> Peer {
        Peer { factory: self.clone(), target, server: server.to_owned(), channel: None }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: ReplicaId, node: &ServerName) -> Network {
        // Forgets the state of the follower's disk that an earlier term of this leader knew.
        self.full_peers.has_space(target);
        Network { peer: self.peer(target, &node.0), heartbeats: None }
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, node: &ServerName) -> Network {
        let heartbeats = HeartbeatStream::spawn(self.peer(target, &node.0));
        Network { peer: self.peer(target, &node.0), heartbeats: Some(heartbeats) }
    }
}

/// A peer, and a connection to the address at which it was found last.
struct Peer {
    factory: NetworkFactory,
    target: ReplicaId,
    server: String,
    channel: Option<(String, Channel)>,
}

impl Peer {
    fn header(&self) -> v1::PeerHeader {
        self.factory.place.header_to(self.target)
    }

    /// Resolves the peer's address again, and connects again if it has moved.
    async fn client(&mut self) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
        let address = self.factory.addresses.resolve(&self.server, Listener::Peer).await;
        let address = address
            .ok_or_else(|| Unreachable::from_string(format!("no address is known of {}", self.server)))?;
        let channel = match &self.channel {
            Some((known, channel)) if *known == address => channel.clone(),
            _ => {
                let channel = (self.factory.dial)(&address).map_err(|e| Unreachable::new(&e))?;
                self.channel = Some((address, channel.clone()));
                channel
            }
        };
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT))
    }

    /// Opens an append stream: the hello, then `requests`. Returns once the peer has accepted the
    /// hello.
    async fn open(
        &mut self,
        requests: impl Stream<Item = v1::append_entries_request::Append> + Send + 'static,
    ) -> Result<tonic::Streaming<v1::AppendEntriesResponse>, RPCError<TypeConfig>> {
        let hello = Outgoing::Hello(self.header());
        let requests = stream::once(async { hello }).chain(requests.map(Outgoing::Append));
        let requests = requests.map(|message| v1::AppendEntriesRequest { message: Some(message) });
        let mut client = self.client().await?;
        let open = async {
            let mut responses = client.append_entries(requests).await?.into_inner();
            match responses.message().await?.and_then(|r| r.result) {
                Some(Incoming::Accepted(_)) => Ok(responses),
                other => Err(Status::internal(format!("expected Accepted, got {other:?}"))),
            }
        };
        match tokio::time::timeout(OPEN_TIMEOUT, open).await {
            Ok(result) => result.map_err(|status| rpc_error(&status)),
            Err(elapsed) => Err(Unreachable::new(&elapsed).into()),
        }
    }
}

/// The connection to one peer, for one purpose.
pub(crate) struct Network {
    peer: Peer,
    heartbeats: Option<HeartbeatStream>,
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut responses = self.stream_append(stream::iter([rpc]), option).await?;
        let closed = || RPCError::Network(NetworkError::from_string("the peer closed the stream"));
        responses.next().await.ok_or_else(closed)?.map(Into::into)
    }

    fn stream_append<S>(
        &mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'_, Result<BoxStream<'_, StreamItem>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if let Some(heartbeats) = self.heartbeats.clone() {
            let answers = input.then(move |request| {
                let heartbeats = heartbeats.clone();
                async move { heartbeats.send(request).await }
            });
            return async move { Ok(answers.boxed()) }.boxed();
        }
        async move {
            // openraft's pause after an error lies in front of the first request: dialling
            // before it would mean dialling a dead peer without end.
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed());
            };
            let in_flight = InFlight::default();
            let sent = in_flight.clone();
            let requests = stream::iter([first]).chain(input).map(move |request| {
                sent.lock().push_back(!request.entries.is_empty());
                append::to_wire(&request)
            });
            let responses = self.peer.open(requests).await?;
            let session = Session {
                responses,
                in_flight,
                peer: self.peer.target,
                full_peers: self.peer.factory.full_peers.clone(),
            };
            Ok(stream::unfold(Some(session), Session::next).boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(rpc, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(rpc, true).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = v1::TransferLeadershipRequest {
            header: Some(self.peer.header()),
            from_leader: Some(req.from_leader().to_wire()),
            to: req.to_node_id().0,
            last_log_id: req.last_log_id().map(Wire::to_wire),
        };
        let mut client = self.peer.client().await?;
        let answer = deadline(VOTE_TIMEOUT, client.transfer_leadership(request)).await?;
        if answer.accepted {
            return Ok(Ok(()));
        }
        tracing::warn!(to = %req.to_node_id(), reason = answer.reason, "leadership transfer refused");
        Ok(Err(TransferLeaderError::LogNotFlushed { expected: req.last_log_id().copied(), actual: None }))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::storage::Snapshot<
            openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>,
            ReplicaId,
            ServerName,
            SnapshotFile,
        >,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let client = self.peer.client().await?;
        let start = v1::install_snapshot_request::Start {
            header: Some(self.peer.header()),
            vote: Some(vote.to_wire()),
            last_log_id: snapshot.meta.last_log_id.as_ref().map(Wire::to_wire),
            membership: Some(snapshot.meta.last_membership.to_wire()),
            length: snapshot.snapshot.length(),
            memory_bytes: snapshot.snapshot.header().memory_bytes,
        };
        let under_way = self.peer.factory.receiving.begin(self.peer.target);
        tokio::select! {
            sent = transfer::send(client, start, &snapshot.snapshot, &under_way) => {
                let vote = sent.map_err(|error| NetworkError::new(&error))?;
                Ok(SnapshotResponse::new(Vote::from_wire(vote).map_err(NetworkError::from_string)?))
            }
            closed = cancel => Err(closed.into()),
        }
    }
}

impl Network {
    async fn ask_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = v1::VoteRequest {
            header: Some(self.peer.header()),
            vote: Some(rpc.vote.to_wire()),
            last_log_id: rpc.last_log_id.as_ref().map(Wire::to_wire),
            leadership_transfer: rpc.leadership_transfer,
            pre_vote,
        };
        let mut client = self.peer.client().await?;
        let answer = deadline(VOTE_TIMEOUT, client.vote(request)).await?;
        let vote = answered_vote(answer.vote).map_err(NetworkError::from_string)?;
        let last = answer.last_log_id.map(LogId::from_wire).transpose().map_err(NetworkError::from_string)?;
        Ok(VoteResponse::new(vote, last, answer.granted))
    }
}

fn answered_vote(vote: Option<v1::RaftVote>) -> Result<Vote, WireError> {
    Vote::from_wire(vote.ok_or(WireError::Missing { message: "answer", field: "vote" })?)
}

/// The requests of an append stream that have no answer yet; each is true if it carries entries.
type InFlight = Arc<Mutex<VecDeque<bool>>>;

/// The answering side of an append stream.
struct Session {
    responses: tonic::Streaming<v1::AppendEntriesResponse>,
    in_flight: InFlight,
    peer: ReplicaId,
    full_peers: FullPeers,
}

impl Session {
    /// Returns the next answer; the stream ends after an error.
    async fn next(session: Option<Self>) -> Option<(StreamItem, Option<Self>)> {
        let mut session = session?;
        loop {
            let Ok(message) = tokio::time::timeout(STALL, session.responses.message()).await else {
                if session.in_flight.lock().is_empty() {
                    continue;
                }
                let stalled = NetworkError::from_string(format!("no answer for {STALL:?}"));
                return Some((Err(stalled.into()), None));
            };
            return match message {
                Ok(Some(response)) => {
                    session.full_peers.set_memory(session.peer, response.memory_full);
                    session.answered(response)
                }
                Ok(None) => None,
                Err(status) => {
                    match Error::from_status(&status) {
                        Some(Error::DiskFull(_) | Error::Overloaded(_)) => {
                            session.full_peers.is_full(session.peer);
                        }
                        Some(Error::MemoryFull(_)) => session.full_peers.set_memory(session.peer, true),
                        _ => {}
                    }
                    Some((Err(rpc_error(&status)), None))
                }
            };
        }
    }

    fn answered(self, response: v1::AppendEntriesResponse) -> Option<(StreamItem, Option<Self>)> {
        match append::result_from_wire(response) {
            Ok(result) => {
                let carried_entries = self.in_flight.lock().pop_front() == Some(true);
                if carried_entries && result.is_ok() {
                    self.full_peers.has_space(self.peer);
                }
                Some((Ok(result), Some(self)))
            }
            Err(error) => Some((Err(NetworkError::from_string(error).into()), None)),
        }
    }
}

/// Returns the error that openraft handles as it should: a peer that can't be reached or refuses us
/// is left alone for a while; anything else may be tried again at once.
fn rpc_error(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => NetworkError::new(status).into(),
        _ => Unreachable::new(status).into(),
    }
}

async fn deadline<T>(
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, RPCError<TypeConfig>> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(rpc_error(&status)),
        Err(elapsed) => Err(NetworkError::new(&elapsed).into()),
    }
}

/// A lasting stream for heartbeats: openraft asks for a new one for each, which would cost
/// every ReadIndex round the opening of a stream.
#[derive(Clone)]
struct HeartbeatStream {
    queue: mpsc::Sender<Heartbeat>,
}

struct Heartbeat {
    request: AppendEntriesRequest<TypeConfig>,
    answer: oneshot::Sender<StreamItem>,
}

impl HeartbeatStream {
    /// Starts the stream's task, which ends when the stream is dropped.
    fn spawn(peer: Peer) -> Self {
        let (queue, heartbeats) = mpsc::channel(HEARTBEAT_QUEUE);
        tokio::spawn(run_heartbeats(peer, heartbeats));
        HeartbeatStream { queue }
    }

    async fn send(&self, request: AppendEntriesRequest<TypeConfig>) -> StreamItem {
        let (answer, answered) = oneshot::channel();
        let lost = || RPCError::Network(NetworkError::from_string("the heartbeat stream broke"));
        self.queue.send(Heartbeat { request, answer }).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())?
    }
}

async fn run_heartbeats(mut peer: Peer, mut heartbeats: mpsc::Receiver<Heartbeat>) {
    let (target, full_peers) = (peer.target, peer.factory.full_peers.clone());
    while let Some(first) = heartbeats.recv().await {
        // A heartbeat that waited while there was no connection has no meaning any more.
        if first.answer.is_closed() {
            continue;
        }
        let (requests, outgoing) = mpsc::channel(HEARTBEAT_QUEUE);
        match peer.open(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await {
            Ok(responses) => {
                let memory = |is_full| full_peers.set_memory(target, is_full);
                serve_heartbeats(first, &mut heartbeats, requests, responses, memory).await;
            }
            Err(error) => {
                let _ = first.answer.send(Err(error));
            }
        }
    }
}

/// Passes heartbeats on until the stream breaks; answers come in the order of the requests.
async fn serve_heartbeats(
    first: Heartbeat,
    heartbeats: &mut mpsc::Receiver<Heartbeat>,
    requests: mpsc::Sender<v1::append_entries_request::Append>,
    mut responses: tonic::Streaming<v1::AppendEntriesResponse>,
    memory: impl Fn(bool),
) {
    let mut waiting = VecDeque::new();
    let mut next = Some(first);
    loop {
        if let Some(Heartbeat { request, answer }) = next.take() {
            if requests.send(append::to_wire(&request)).await.is_err() {
                return;
            }
            waiting.push_back(answer);
        }
        tokio::select! {
            heartbeat = heartbeats.recv(), if waiting.len() < HEARTBEAT_QUEUE => match heartbeat {
                Some(heartbeat) => next = Some(heartbeat),
                None => return,
            },
            message = responses.message() => {
                let (item, broken) = match message {
                    Ok(Some(response)) => {
                        memory(response.memory_full);
                        let result = append::result_from_wire(response);
                        (result.map_err(|e| NetworkError::from_string(e).into()), false)
                    }
                    Ok(None) => return,
                    Err(status) => (Err(rpc_error(&status)), true),
                };
                if let Some(answer) = waiting.pop_front() {
                    let _ = answer.send(item);
                }
                if broken {
                    return;
                }
            }
        }
    }
}
