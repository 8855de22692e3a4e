//! The Raft service, for the messages of the other replicas of our groups.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use skv_log::Reservation;
use skv_proto::v1::append_entries_request::Message;
use skv_proto::v1::append_entries_response::{Accepted, Result as Outcome};
use skv_proto::v1::install_snapshot_request;
use skv_proto::v1::raft_server;
use skv_proto::{Error, v1};
use skv_raft::header::required;
use skv_raft::judge;
use skv_raft::types::{AppendRequest, LogEntry, LogId, SnapshotMeta, StoredMembership, Vote};
use skv_raft::wire::{Wire, WireError};
use skv_raft::{Verdict, append};
use skv_sharding::{GroupId, ReplicaId};
use skv_snapshot::Fingerprint;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{arrival, opening};
use crate::replica::Replicas;
use crate::running::Running;

/// Hands each message to the replica that it is for.
#[derive(Debug, Clone)]
pub struct RaftService {
    replicas: Arc<Replicas>,
    closed: CancellationToken,
}

impl RaftService {
    /// Serves the replicas of this server. Streams end once the listener is `closed`.
    pub fn new(replicas: Arc<Replicas>, closed: CancellationToken) -> Self {
        RaftService { replicas, closed }
    }

    /// Returns the replica that the header names, if it is really meant; and the version to speak.
    fn receiver(&self, header: Option<&v1::PeerHeader>) -> Result<(Arc<Running>, u32), Error> {
        let header = required(header)?;
        let running = self.replicas.get(GroupId(header.group))?.running()?;
        let version = running.place.check(header, &running.lineage())?;
        Ok((running, version))
    }
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    type AppendEntriesStream = BoxStream<'static, Result<v1::AppendEntriesResponse, Status>>;
    type InstallSnapshotStream = BoxStream<'static, Result<v1::InstallSnapshotResponse, Status>>;

    async fn append_entries(
        &self,
        request: Request<Streaming<v1::AppendEntriesRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let mut requests = request.into_inner();
        let first = opening::first(requests.message(), &self.closed).await?;
        let Some(Message::Hello(hello)) = first.and_then(|m| m.message) else {
            return Err(
                Error::InvalidArgument("the first message of the stream must be a hello".into()).into()
            );
        };
        let (running, version) = self.receiver(Some(&hello))?;
        tracing::debug!(from = hello.from, group = %running.place.group, version, "append stream opened");
        let feature_level = running.feature_level;
        let accepted = Outcome::Accepted(Accepted { version, feature_level });
        let results = append_results(&running, ReplicaId(hello.from), requests);
        let follower = running;
        let responses = stream::once(async move { Ok(accepted) })
            .chain(results)
            .take_until(self.closed.clone().cancelled_owned())
            .map(move |result| {
                let (memory, disk_full) = (follower.writes.memory(), follower.writes.is_full());
                result.map(|result| v1::AppendEntriesResponse {
                    result: Some(result),
                    memory_full: memory.is_full(),
                    disk_full,
                    memory_left: memory.left(),
                })
            });
        Ok(Response::new(responses.boxed()))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        let request = request.into_inner();
        let (running, _) = self.receiver(request.header.as_ref())?;
        let vote = vote(request.vote)?;
        judge::candidate(&vote, from(request.header.as_ref()), running.place.replica)?;
        let last_log = request.last_log_id.map(LogId::from_wire).transpose().map_err(invalid)?;
        let (transfer, pre) = (request.leadership_transfer, request.pre_vote);
        // A leader hands over to a replica that has its whole log, whoever votes.
        let answer = if transfer || running.readiness.may_vote() {
            let answer = running.consensus.vote(vote, last_log, transfer, pre).await;
            answer.map_err(|e| Error::Unavailable(e.to_string()))?
        } else {
            running.consensus.no_vote()
        };
        Ok(Response::new(v1::VoteResponse {
            vote: Some(answer.vote.to_wire()),
            granted: answer.granted,
            last_log_id: answer.last_log.as_ref().map(Wire::to_wire),
        }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let request = request.into_inner();
        let (running, _) = self.receiver(request.header.as_ref())?;
        let leader = vote(request.from_leader)?;
        judge::leader(&leader, from(request.header.as_ref()), running.place.replica)?;
        let last_log = request.last_log_id.map(LogId::from_wire).transpose().map_err(invalid)?;
        let answer = running.consensus.take_over(leader, ReplicaId(request.to), last_log).await;
        let answer = answer.map_err(|e| Error::Unavailable(e.to_string()))?;
        Ok(Response::new(v1::TransferLeadershipResponse {
            accepted: answer.is_ok(),
            reason: answer.err().unwrap_or_default(),
        }))
    }

    async fn tell_reversion(
        &self,
        request: Request<v1::TellReversionRequest>,
    ) -> Result<Response<v1::TellReversionResponse>, Status> {
        let request = request.into_inner();
        let (running, _) = self.receiver(request.header.as_ref())?;
        let leader = vote(request.vote)?;
        judge::leader(&leader, from(request.header.as_ref()), running.place.replica)?;
        let acknowledged = request.acknowledged.ok_or_else(|| missing("acknowledged")).map_err(invalid)?;
        let acknowledged = LogId::from_wire(acknowledged).map_err(invalid)?;
        let verdict = running.consensus.lacks(&leader, &acknowledged).await;
        if verdict == Verdict::Lacks {
            tracing::error!(group = %running.place.group, %acknowledged, "this replica lacks what it acknowledged: its disk went back in time");
            running.gone_back.cancel();
        }
        Ok(Response::new(verdict.into()))
    }

    async fn held_snapshot(
        &self,
        request: Request<v1::HeldSnapshotRequest>,
    ) -> Result<Response<v1::HeldSnapshotResponse>, Status> {
        let request = request.into_inner();
        let (running, _) = self.receiver(request.header.as_ref())?;
        let leader = vote(request.vote)?;
        judge::leader(&leader, from(request.header.as_ref()), running.place.replica)?;
        let snapshot = fingerprint(request.last_log_id.as_ref(), request.length, request.checksum);
        let bytes = running.snapshots.held(snapshot).await;
        Ok(Response::new(v1::HeldSnapshotResponse { bytes }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::InstallSnapshotRequest>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        let mut messages = request.into_inner();
        let first = opening::first(messages.message(), &self.closed).await?;
        let Some(install_snapshot_request::Message::Start(start)) = first.and_then(|m| m.message) else {
            return Err(
                Error::InvalidArgument("the first message must be the snapshot's start".into()).into()
            );
        };
        let (running, _) = self.receiver(start.header.as_ref())?;
        let leader_vote = vote(start.vote)?;
        judge::leader(&leader_vote, from(start.header.as_ref()), running.place.replica)?;
        let membership = start.membership.ok_or_else(|| missing("membership")).map_err(invalid)?;
        let membership = StoredMembership::from_wire(membership).map_err(invalid)?;
        let meta = SnapshotMeta {
            last_log_id: start.last_log_id.map(LogId::from_wire).transpose().map_err(invalid)?,
            last_membership: membership,
        };
        let committed = running.consensus.watch().local_committed();
        judge::snapshot(meta.last_log_id.as_ref(), &leader_vote, committed.as_ref())?;
        tracing::info!(group = %running.place.group, bytes = start.length, from = start.offset, last = ?meta.last_log_id, "receiving a snapshot");

        let (memory, bytes) = (running.writes.memory().clone(), start.memory_bytes.max(start.length));
        let no_room = || Error::MemoryFull(format!("a snapshot takes {bytes} bytes"));
        let reserved = memory.reserve(bytes).ok_or_else(no_room)?;
        let snapshot = fingerprint(start.last_log_id.as_ref(), start.length, start.checksum);
        let spool = running.snapshots.receive(snapshot, start.offset);
        let answers = arrival::receive(memory, reserved, leader_vote, meta, messages, spool)
            .take_until(self.closed.clone().cancelled_owned());
        Ok(Response::new(answers.boxed()))
    }
}

/// Returns the sender of a message whose header was checked.
fn from(header: Option<&v1::PeerHeader>) -> ReplicaId {
    ReplicaId(header.map_or(0, |header| header.from))
}

/// Returns what a leader says of a snapshot's file.
fn fingerprint(last: Option<&v1::LogId>, length: u64, checksum: u32) -> Fingerprint {
    let (term, index) = last.map_or((0, 0), |last| (last.term, last.index));
    Fingerprint { term, index, length, checksum }
}

fn missing(field: &'static str) -> WireError {
    WireError::Missing { message: "request", field }
}

fn vote(vote: Option<v1::RaftVote>) -> Result<Vote, Error> {
    Vote::from_wire(vote.ok_or_else(|| invalid(missing("vote")))?).map_err(invalid)
}

fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::InvalidArgument(reason.to_string())
}

/// Feeds the entries to openraft, pipelined, and answers in their order.
///
/// A follower without room for the entries ends the stream instead: an error from the log
/// itself would be fatal to openraft. Heartbeats carry no entries and still pass.
fn append_results(
    running: &Arc<Running>,
    leader: ReplicaId,
    requests: Streaming<v1::AppendEntriesRequest>,
) -> impl Stream<Item = Result<Outcome, Status>> + Send + use<> {
    let reservations: Arc<Mutex<VecDeque<Option<Reservation>>>> = Arc::default();
    let refused: Arc<Mutex<Option<Status>>> = Arc::default();

    let incoming = {
        let (reservations, refused, running) = (reservations.clone(), refused.clone(), running.clone());
        stream::unfold(Some(requests), move |requests| {
            let (reservations, refused, running) = (reservations.clone(), refused.clone(), running.clone());
            async move {
                let mut requests = requests?;
                let admitted = match requests.message().await {
                    Ok(None) => return None,
                    Ok(Some(v1::AppendEntriesRequest { message: Some(Message::Append(append)) })) => {
                        let request = append::from_wire(append).map_err(invalid).and_then(|request| {
                            judge::append(&request, leader, running.place.replica).map(|()| request)
                        });
                        match request {
                            Ok(request) => admit(request, &running).await,
                            Err(error) => {
                                tracing::warn!(group = %running.place.group, %leader, %error, "entries are refused");
                                Admitted::refusing(error.into())
                            }
                        }
                    }
                    Ok(Some(_)) => Admitted::refusing(invalid("expected an append").into()),
                    Err(status) => Admitted::refusing(status),
                };
                let Admitted { request, reservation, refusal } = admitted;
                let ends = refusal.is_some();
                *refused.lock() = refusal;
                let request = request?;
                reservations.lock().push_back(reservation);
                Some((request, (!ends).then_some(requests)))
            }
        })
    };

    let readiness = running.readiness.clone();
    let results = running.consensus.append(incoming).map(move |appended| {
        // The entries are durable, or will never be: either way their room is accounted for.
        drop(reservations.lock().pop_front());
        match appended {
            Ok(appended) => {
                if appended.from_leader {
                    readiness.heard_leader();
                    if matches!(appended.result, Outcome::Matched(_)) {
                        readiness.agrees_with_leader();
                    }
                }
                Ok(appended.result)
            }
            Err(stopped) => Err(Error::Internal(stopped.to_string()).into()),
        }
    });
    results.chain(stream::once(async move { refused.lock().take() }).filter_map(|r| async { r.map(Err) }))
}

/// The part of a request that may be appended.
struct Admitted {
    request: Option<AppendRequest>,
    reservation: Option<Reservation>,
    /// The status that ends the stream after the request.
    refusal: Option<Status>,
}

impl Admitted {
    fn refusing(refusal: Status) -> Self {
        Admitted { request: None, reservation: None, refusal: Some(refusal) }
    }
}

/// Reserves room for the entries of a request. Without room only those are admitted that
/// need none: the entry by which a new leader begins mustn't wait behind a full disk.
async fn admit(mut request: AppendRequest, running: &Running) -> Admitted {
    let memory = running.writes.memory();
    memory.settle(request.entries.first().map(|entry| entry.log_id.index));
    let mut refusal = None;
    let (fitting, growth) = fitting_in_memory(&request, running).await;
    if fitting < request.entries.len() {
        refusal = Some(memory.refusal().into());
        request.entries.truncate(fitting);
        if fitting == 0 {
            return Admitted { request: None, reservation: None, refusal };
        }
    }
    if let Some(last) = request.entries.last() {
        memory.expect(last.log_id.index, growth);
    }
    let bytes = append::log_bytes(&request.entries);
    if bytes == 0 {
        return Admitted { request: Some(request), reservation: None, refusal };
    }
    match running.writes.reserve(bytes).await {
        Ok(reservation) => Admitted { request: Some(request), reservation: Some(reservation), refusal },
        Err(error) => {
            let needs = |entry: &LogEntry| append::payload(entry).is_some_and(|payload| !payload.is_empty());
            let fitting = running.consensus.entries_without_need(&request.entries, needs).await;
            if fitting == request.entries.len() {
                return Admitted { request: Some(request), reservation: None, refusal };
            }
            request.entries.truncate(fitting);
            let request = (fitting > 0).then_some(request);
            Admitted { request, reservation: None, refusal: Some(error.into()) }
        }
    }
}

/// Returns the number of entries before the first one that the memory of this server can't take, and the
/// growth that they cause: else the system would end the process, and after its restart again. While there is
/// much more room than they could need, their length stands for their growth: it is exact enough for the few
/// that aren't applied yet, and decoding all of them once more would cost every write.
async fn fitting_in_memory(request: &AppendRequest, running: &Running) -> (usize, u64) {
    let memory = running.writes.memory();
    let bytes = request.entries.iter().filter_map(append::payload).map(Bytes::len).sum();
    if bytes == 0 || memory.takes_easily(bytes) {
        return (request.entries.len(), bytes as u64);
    }
    let mut growth = 0;
    let needs = |entry: &LogEntry| {
        let more = append::payload(entry).map_or(0, |payload| memory.growth_of(payload));
        let fits = more == 0 || memory.can_take(growth + more);
        growth += if fits { more } else { 0 };
        !fits
    };
    let fitting = running.consensus.entries_without_need(&request.entries, needs).await;
    (fitting, growth)
}
