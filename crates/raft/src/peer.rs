//! Another replica of the group, as this one reaches it.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use skv_net::{Addresses, Dial, Listener, MESSAGE_LIMIT};
use skv_proto::v1;
use skv_proto::v1::append_entries_request::Message as Outgoing;
use skv_proto::v1::append_entries_response::Result as Incoming;
use skv_proto::v1::raft_client::RaftClient;
use skv_sharding::ReplicaId;
use tonic::Status;
use tonic::transport::Channel;

use crate::append;
use crate::full_peers::FullPeers;
use crate::header::{FIRST_LEVEL, Place};
use crate::later_life::LaterLife;
use crate::levels::Levels;
use crate::receiving::Receiving;
use crate::reversion::{Acknowledged, Verdict};
use crate::types::{LogId, TypeConfig, Vote};
use crate::wire::Wire as _;

/// The longest time in which a stream opens.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time of a vote: with a fsync at the other end, and well below an election.
pub(super) const VOTE_TIMEOUT: Duration = Duration::from_millis(500);

/// An answer to entries, or the failure to get one.
pub(super) type StreamItem = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Makes the connections of one replica.
#[derive(Clone)]
pub(crate) struct NetworkFactory {
    place: Place,
    addresses: Arc<Addresses>,
    dial: Dial,
    pub(super) full_peers: FullPeers,
    receiving: Receiving,
    acknowledged: Acknowledged,
    levels: Levels,
    later_life: LaterLife,
}

impl NetworkFactory {
    /// Makes connections from the replica at `place`.
    pub(crate) fn new(
        place: Place,
        addresses: Arc<Addresses>,
        dial: Dial,
        full_peers: FullPeers,
        receiving: Receiving,
    ) -> Self {
        let (acknowledged, levels, later_life) = Default::default();
        NetworkFactory { place, addresses, dial, full_peers, receiving, acknowledged, levels, later_life }
    }

    /// Returns true if this replica runs on this server now, and accepts messages from us.
    pub(crate) async fn reaches(&self, target: ReplicaId, server: &str) -> bool {
        self.peer(target, server).open(stream::empty()).await.is_ok()
    }

    /// Returns what the followers acknowledged to this replica.
    pub(crate) fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// Returns the feature levels that the others announced to this replica.
    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Returns the later life of the group that the others told this replica of.
    pub(crate) fn later_life(&self) -> &LaterLife {
        &self.later_life
    }

    /// Returns the followers that receive a snapshot from this replica now.
    pub(crate) fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    /// Takes a peer's answer to the leader with this vote, and notes what it tells of the peer: its room
    /// in memory and on its disk, and the end of its log.
    pub(super) fn hear(
        &self,
        replica: ReplicaId,
        leader: &Vote,
        response: v1::AppendEntriesResponse,
    ) -> StreamItem {
        self.full_peers.set_memory(replica, response.memory_full);
        self.full_peers.set_memory_left(replica, response.memory_left);
        self.full_peers.set_disk(replica, response.disk_full);
        let result = append::result_from_wire(response).map_err(NetworkError::from_string)?;
        match &result {
            Ok(Some(upto)) => self.acknowledged.note(replica, leader, *upto),
            Err(StreamAppendError::Conflict(entry)) if self.acknowledged.lacks(replica, leader, entry) => {
                let group = self.place.group;
                tracing::error!(%group, %replica, lacks = %entry, "a replica went back in time: it lacks what it acknowledged");
            }
            Ok(None) | Err(_) => {}
        }
        Ok(result)
    }

    pub(super) fn peer(&self, target: ReplicaId, server: &str) -> Peer {
        Peer { factory: self.clone(), target, server: server.to_owned(), channel: None }
    }
}

/// A peer, and a connection to the address at which it was found last.
pub(super) struct Peer {
    pub(super) factory: NetworkFactory,
    pub(super) target: ReplicaId,
    pub(super) server: String,
    pub(super) channel: Option<(String, Channel)>,
}

impl Peer {
    pub(super) fn header(&self) -> v1::PeerHeader {
        self.factory.place.header_to(self.target)
    }

    /// Resolves the peer's address again, and connects again if it has moved.
    pub(super) async fn client(&mut self) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
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
    pub(super) async fn open(
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
                Some(Incoming::Accepted(accepted)) => Ok((accepted, responses)),
                other => Err(Status::internal(format!("expected Accepted, got {other:?}"))),
            }
        };
        match tokio::time::timeout(OPEN_TIMEOUT, open).await {
            Ok(Ok((accepted, responses))) => {
                self.factory.levels.note(self.target, accepted.feature_level.max(FIRST_LEVEL));
                Ok(responses)
            }
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(elapsed) => Err(Unreachable::new(&elapsed).into()),
        }
    }

    /// Takes the refusal of a message, and returns the error that openraft gets.
    pub(super) fn refused(&self, status: &Status) -> RPCError<TypeConfig> {
        self.factory.later_life.hear(self.factory.place.incarnation, status);
        rpc_error(status)
    }

    /// Returns the last entry that the peer acknowledged before it went back in time, if it did.
    pub(super) fn gone_back(&self) -> Option<LogId> {
        self.factory.acknowledged.gone_back(self.target)
    }

    /// Returns the entry that a request builds on if the peer lacks it, and openraft doesn't know yet: the
    /// conflict was heard when nobody waited for the answer any more, and openraft would go on counting the
    /// entry as the peer's.
    pub(super) fn conflict_due(&self, request: &AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
        let builds_on = request.prev_log_id.filter(|_| !request.entries.is_empty())?;
        self.factory.acknowledged.take_conflict(self.target, &request.vote, &builds_on).then_some(builds_on)
    }

    /// Tells the peer that it went back in time. It gets nothing else, so that this ends in an error.
    pub(super) async fn tell_reversion(
        &mut self,
        leader: &Vote,
        acknowledged: LogId,
    ) -> Unreachable<TypeConfig> {
        let request = v1::TellReversionRequest {
            header: Some(self.header()),
            vote: Some(leader.to_wire()),
            acknowledged: Some(acknowledged.to_wire()),
        };
        let mut client = match self.client().await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let told = match tokio::time::timeout(VOTE_TIMEOUT, client.tell_reversion(request)).await {
            Ok(told) => told,
            Err(elapsed) => return Unreachable::new(&elapsed),
        };
        match told.map(|answer| Verdict::from(*answer.get_ref())) {
            Ok(Verdict::Lacks) => Unreachable::from_string("it went back in time, and begins again"),
            // It stays accused: with its vote an entry that was acknowledged could be lost.
            Ok(Verdict::CannotTell) => Unreachable::from_string("it can't tell whether it went back in time"),
            Ok(Verdict::Has) => {
                self.factory.acknowledged.forget(self.target);
                Unreachable::from_string("it has all that it acknowledged")
            }
            Err(status) => {
                if status.code() == tonic::Code::Unimplemented {
                    self.factory.acknowledged.forget(self.target);
                }
                Unreachable::new(&status)
            }
        }
    }
}

/// Returns the error that openraft handles as it should: a peer that can't be reached or refuses us
/// is left alone for a while; anything else may be tried again at once.
pub(super) fn rpc_error(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => NetworkError::new(status).into(),
        _ => Unreachable::new(status).into(),
    }
}
