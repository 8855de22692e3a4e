//! openraft's network: one replica's connections to the others of its group.
//!
//! Log entries travel in one bidirectional stream per peer, pipelined. Heartbeats, which
//! also carry the ReadIndex rounds, have a stream and a connection of their own, so that
//! they never wait behind entries or a snapshot.

use std::future::Future;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use skv_proto::{Error, v1};
use skv_sharding::ReplicaId;
use skv_snapshot::SnapshotFile;
use tokio::time::Instant;
use tonic::Status;

use super::append;
use super::heartbeats::HeartbeatStream;
use super::in_flight::{InFlight, STALL};
use super::peer::{NetworkFactory, Peer, StreamItem, VOTE_TIMEOUT, rpc_error};
use super::transfer;
use super::types::{LogId, ServerName, TypeConfig, Vote};
use super::wire::{Wire, WireError};

/// The pause before a replica that went back in time is told so again, instead of being sent a snapshot.
const TELL_AGAIN: Duration = Duration::from_millis(500);

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: ReplicaId, node: &ServerName) -> Network {
        self.full_peers.forget_disk(target);
        Network { peer: self.peer(target, &node.0), heartbeats: None }
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, node: &ServerName) -> Network {
        let heartbeats = HeartbeatStream::spawn(self.peer(target, &node.0));
        Network { peer: self.peer(target, &node.0), heartbeats: Some(heartbeats) }
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
            if self.peer.gone_back().is_some() {
                let error = Unreachable::from_string("it went back in time");
                return async move { Err(error.into()) }.boxed();
            }
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
            let leader = first.vote;
            if let Some(lacks) = self.peer.conflict_due(&first) {
                let conflict: StreamItem = Ok(Err(StreamAppendError::Conflict(lacks)));
                return Ok(stream::iter([conflict]).boxed());
            }
            if let Some(acknowledged) = self.peer.gone_back() {
                return Err(self.peer.tell_reversion(&leader, acknowledged).await.into());
            }
            let in_flight = InFlight::default();
            let sent = in_flight.clone();
            let requests = stream::iter([first]).chain(input).map(move |request| {
                sent.send(!request.entries.is_empty());
                append::to_wire(&request)
            });
            let responses = self.peer.open(requests).await?;
            let (factory, peer) = (self.peer.factory.clone(), self.peer.target);
            let session = Session { responses, in_flight, leader, peer, factory };
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
        let answer = deadline(&self.peer, VOTE_TIMEOUT, client.transfer_leadership(request)).await?;
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
        if let Some(acknowledged) = self.peer.gone_back() {
            let told = self.peer.tell_reversion(&vote, acknowledged).await;
            tokio::time::sleep(TELL_AGAIN).await;
            return Err(told.into());
        }
        let client = self.peer.client().await?;
        let file = &snapshot.snapshot;
        let start = v1::install_snapshot_request::Start {
            header: Some(self.peer.header()),
            vote: Some(vote.to_wire()),
            last_log_id: snapshot.meta.last_log_id.as_ref().map(Wire::to_wire),
            membership: Some(snapshot.meta.last_membership.to_wire()),
            length: file.length(),
            memory_bytes: file.header().memory_bytes,
            checksum: file.fingerprint().checksum,
            offset: 0,
        };
        let receiving = self.peer.factory.receiving();
        let under_way = receiving.begin(self.peer.target, file);
        let sent = tokio::select! {
            sent = transfer::send(client, start, file, &under_way) => sent,
            closed = cancel => return Err(closed.into()),
        };
        if !sent.as_ref().is_err_and(transfer::TransferError::may_go_on) {
            receiving.set_again(None);
        } else if under_way.has_moved() {
            receiving.set_again(Some(file.clone()));
        }
        let vote = sent.map_err(|error| NetworkError::new(&error))?;
        Ok(SnapshotResponse::new(Vote::from_wire(vote).map_err(NetworkError::from_string)?))
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
        let answer = deadline(&self.peer, VOTE_TIMEOUT, client.vote(request)).await?;
        let vote = answered_vote(answer.vote).map_err(NetworkError::from_string)?;
        let last = answer.last_log_id.map(LogId::from_wire).transpose().map_err(NetworkError::from_string)?;
        Ok(VoteResponse::new(vote, last, answer.granted))
    }
}

fn answered_vote(vote: Option<v1::RaftVote>) -> Result<Vote, WireError> {
    Vote::from_wire(vote.ok_or(WireError::Missing { message: "answer", field: "vote" })?)
}

/// The answering side of an append stream.
struct Session {
    responses: tonic::Streaming<v1::AppendEntriesResponse>,
    in_flight: InFlight,
    /// The vote of the leader, which is the same in all requests.
    leader: Vote,
    peer: ReplicaId,
    factory: NetworkFactory,
}

impl Session {
    /// Returns the next answer; the stream ends after an error.
    async fn next(session: Option<Self>) -> Option<(StreamItem, Option<Self>)> {
        let mut session = session?;
        loop {
            let until = session.in_flight.stalls_at();
            let Ok(message) = tokio::time::timeout_at(until, session.responses.message()).await else {
                // A request that was sent meanwhile has a time of its own.
                if session.in_flight.stalls_at() > Instant::now() {
                    continue;
                }
                let stalled = NetworkError::from_string(format!("no answer for {STALL:?}"));
                return Some((Err(stalled.into()), None));
            };
            return match message {
                Ok(Some(response)) => Some(session.answered(response)),
                Ok(None) => None,
                Err(status) => {
                    match Error::from_status(&status) {
                        // Overloaded is a follower whose log can't make its next segment, such as for want of
                        // descriptors: for as long as that lasts it takes no entries, like one without space.
                        Some(Error::DiskFull(_) | Error::Overloaded(_)) => {
                            session.factory.full_peers.is_full(session.peer);
                        }
                        Some(Error::MemoryFull(_)) => {
                            session.factory.full_peers.set_memory(session.peer, true)
                        }
                        _ => {}
                    }
                    Some((Err(rpc_error(&status)), None))
                }
            };
        }
    }

    fn answered(self, response: v1::AppendEntriesResponse) -> (StreamItem, Option<Self>) {
        let item = self.factory.hear(self.peer, &self.leader, response);
        let Ok(result) = &item else { return (item, None) };
        let carried_entries = self.in_flight.answer();
        if carried_entries && result.is_ok() {
            self.factory.full_peers.has_space(self.peer);
        }
        (item, Some(self))
    }
}

async fn deadline<T>(
    peer: &Peer,
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, RPCError<TypeConfig>> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(peer.refused(&status)),
        Err(elapsed) => Err(NetworkError::new(&elapsed).into()),
    }
}
