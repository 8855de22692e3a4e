//! The Raft of one replica, in words of our own: nobody above this crate names openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{Fatal, RaftError};
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{RaftMetrics, storage};
use skv_log::Log;
use skv_net::{Addresses, Dial};
use skv_proto::v1;
use skv_sharding::{Incarnation, ReplicaId};
use skv_snapshot::SnapshotFile;

use crate::append;
use crate::config::{Timing, raft_config};
use crate::engine::{Raft, Stopped};
use crate::full_peers::FullPeers;
use crate::header::Place;
use crate::log_store::{LogStore, LogStoreReader};
use crate::peer::NetworkFactory;
use crate::propose::{Proposal, ProposeError};
use crate::read::Reads;
use crate::reversion::{Held, Own, Verdict};
use crate::state_machine::StateMachine;
use crate::types::{AppendRequest, EncodedEntry, LogEntry, LogId, SnapshotMeta, TypeConfig, Vote};
use crate::view::{Follower, Members, RaftView, Role};
use crate::wire::Wire as _;

type Metrics = RaftMetrics<TypeConfig>;

/// The Raft of one replica. Clones are the same one.
#[derive(Clone)]
pub struct Consensus {
    pub(crate) raft: Raft,
    network: NetworkFactory,
    full_peers: FullPeers,
    log: LogStoreReader,
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").finish_non_exhaustive()
    }
}

/// An answer to a request for a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteAnswer {
    /// The vote of the asked replica, which may be a newer one.
    pub vote: Vote,
    /// True if it was granted.
    pub granted: bool,
    /// The end of the asked replica's log.
    pub last_log: Option<LogId>,
}

/// The end of a replica's log and, on a leader, the matching part of the others' logs at the same
/// moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replication {
    /// The replica's last entry.
    pub last_log: Option<LogId>,
    /// The members.
    pub followers: BTreeMap<ReplicaId, Follower>,
}

/// Starts openraft. It is boxed, so that it is compiled with this crate: a future is otherwise compiled with each crate
/// above that awaits it, and with the tests of each.
fn start_openraft(
    replica: ReplicaId,
    config: openraft::Config,
    network: NetworkFactory,
    log: LogStore,
    state: StateMachine,
) -> BoxFuture<'static, Result<Raft, Fatal<TypeConfig>>> {
    Box::pin(Raft::new(replica, Arc::new(config), network, log, state))
}

impl Consensus {
    /// Starts the Raft of the replica at `place`.
    pub async fn start(
        place: Place,
        timing: Timing,
        addresses: Arc<Addresses>,
        dial: Dial,
        log: Log,
        state: StateMachine,
    ) -> Result<Self, Stopped> {
        let config = raft_config(timing).map_err(|error| Stopped(error.to_string()))?;
        let full_peers = FullPeers::default();
        let network = NetworkFactory::new(place, addresses, dial, full_peers.clone(), state.receiving());
        let mut log = LogStore::new(log);
        let reader = log.get_log_reader().await;
        let raft = start_openraft(place.replica, config, network.clone(), log, state).await?;
        Ok(Consensus { raft, network, full_peers, log: reader })
    }

    /// Ends it, and waits until its tasks have ended.
    pub async fn shutdown(&self) {
        let _ = self.raft.shutdown().await;
    }

    /// Returns a view that follows the changes of what this replica knows.
    pub fn watch(&self) -> Watch {
        Watch { metrics: self.raft.metrics(), network: self.network.clone() }
    }

    /// Returns what this replica knows now.
    pub fn view(&self) -> RaftView {
        self.watch().view()
    }

    /// Returns the index of the last entry that is applied here; 0 if there is none.
    pub fn applied(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_applied.map_or(0, |applied| applied.index)
    }

    /// Waits until `pick` finds something in the view, at most for `timeout`.
    pub async fn await_view<T>(
        &self,
        timeout: Duration,
        mut pick: impl FnMut(&RaftView) -> Option<T>,
    ) -> Option<T> {
        let mut watch = self.watch();
        let found = async {
            loop {
                if let Some(found) = pick(&watch.view()) {
                    return Some(found);
                }
                watch.changed().await.ok()?;
            }
        };
        tokio::time::timeout(timeout, found).await.ok().flatten()
    }

    /// Returns the end of the log with its term, and the part of it that others have.
    pub fn replication(&self) -> Replication {
        let data = self.raft.data_metrics();
        let data = data.borrow_watched();
        let followers = data.replication.iter().flatten().map(|(&id, &matched)| {
            let heard = data.heartbeat.as_ref().and_then(|heard| heard.get(&id).copied().flatten());
            (id, Follower { matched, silence: heard.map(|at| at.elapsed()), ..Follower::default() })
        });
        Replication { last_log: data.last_log, followers: followers.collect() }
    }

    /// Returns the newest membership in the log as a message.
    pub fn membership(&self) -> v1::StoredMembership {
        self.raft.metrics().borrow_watched().membership_config.to_wire()
    }

    /// Returns the other voters of the group.
    pub fn other_voters(&self) -> Vec<ReplicaId> {
        self.raft.voter_ids().filter(|id| id != self.raft.node_id()).collect()
    }

    /// Returns true unless followers without disk space prevent a quorum, so that no entry can be
    /// committed.
    pub fn can_commit(&self) -> bool {
        !self.full_peers.prevent_quorum(self.raft.voter_ids())
    }

    /// Returns true unless followers without room prevent that data grows.
    pub fn can_grow(&self) -> bool {
        !self.full_peers.any_in_memory() || !self.full_peers.prevent_growth(self.raft.voter_ids())
    }

    /// Returns the growth that a majority of the voters takes, as far as this leader has heard.
    pub fn memory_left(&self) -> u64 {
        self.full_peers.memory_left(self.raft.voter_ids())
    }

    /// Returns the voters that may lead in the place of a leader without room: those that have room, if
    /// they are a majority. Else no group of theirs could take more under another leader either, and the
    /// leadership would go round, each time at the cost of an entry.
    pub fn roomy_leaders(&self) -> Vec<ReplicaId> {
        let others = self.other_voters();
        let voters = others.len() + 1;
        let roomy: Vec<_> = others.into_iter().filter(|id| self.full_peers.is_roomy(*id)).collect();
        if roomy.len() > voters / 2 { roomy } else { Vec::new() }
    }

    /// Returns the highest feature level that all voters have, as far as this leader has heard, which has
    /// the level `own`.
    pub fn common_level(&self, own: u32) -> u32 {
        self.network.levels().common(own, self.other_voters())
    }

    /// Returns true if this replica runs on this server now, and accepts messages from us.
    pub async fn reaches(&self, target: ReplicaId, server: &str) -> bool {
        self.network.reaches(target, server).await
    }

    /// Proposes an entry, and waits until it is applied.
    pub async fn propose(&self, entry: Bytes) -> Result<skv_store::Applied, ProposeError> {
        match self.raft.client_write(EncodedEntry(entry)).await {
            Ok(response) => Ok(response.data),
            Err(RaftError::APIError(error)) => Err(error.into()),
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Unknown(fatal.to_string())),
        }
    }

    /// Proposes an entry; entries are appended in the order of the calls.
    pub async fn submit(&self, entry: Bytes) -> Result<Proposal, ProposeError> {
        Proposal::submit(&self.raft, entry).await
    }

    /// Returns the way to confirm reads.
    pub fn reads(&self) -> Reads {
        Reads::new(self.raft.clone())
    }

    /// Returns true if the group has its first members.
    pub async fn is_initialized(&self) -> bool {
        matches!(self.raft.is_initialized().await, Ok(true))
    }

    /// Makes these the first members of the group, unless its log has an entry.
    pub async fn initialize(&self, members: BTreeMap<ReplicaId, String>) -> Result<(), String> {
        let members: BTreeMap<_, _> =
            members.into_iter().map(|(id, server)| (id, crate::types::ServerName(server))).collect();
        self.raft.initialize(members).await.map_err(|error| error.to_string())
    }

    /// Asks a voter that has the whole log to lead.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), Stopped> {
        Ok(self.raft.trigger().transfer_leader(to).await?)
    }

    /// Has a snapshot written; while one is written this does nothing.
    pub async fn trigger_snapshot(&self) -> Result<(), Stopped> {
        Ok(self.raft.trigger().snapshot().await?)
    }

    /// Returns the index of the last entry that the snapshot covers which is sent again, if there is one.
    pub fn sent_again(&self) -> Option<u64> {
        self.network.receiving().again().map(|snapshot| snapshot.fingerprint().index)
    }

    /// Drops the log up to an index that a snapshot covers.
    pub async fn purge(&self, index: u64) -> Result<(), Stopped> {
        Ok(self.raft.trigger().purge_log(index).await?)
    }

    /// Returns the number of these entries, from the first on, that are in the log already, or for which
    /// `needs` is false.
    pub async fn entries_without_need(
        &self,
        entries: &[LogEntry],
        mut needs: impl FnMut(&LogEntry) -> bool,
    ) -> usize {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return 0 };
        let range = first.log_id.index..=last.log_id.index;
        let held = self.log.clone().try_get_log_entries(range).await.unwrap_or_default();
        let is_held = |entry: &LogEntry| held.iter().any(|held| held.log_id == entry.log_id);
        entries.iter().take_while(|entry| is_held(entry) || !needs(entry)).count()
    }
}

/// Requests of other replicas to this one.
impl Consensus {
    /// Takes entries from a leader, pipelined; the results come in their order.
    pub fn append<S>(
        &self,
        requests: S,
    ) -> impl Stream<Item = Result<append::Appended, Stopped>> + Send + use<S>
    where
        S: Stream<Item = AppendRequest> + Send + 'static,
    {
        append::appended(self.raft.clone(), requests)
    }

    /// Finds out if the log lacks an entry that this replica is said to have acknowledged to a leader with
    /// this vote: then its disk went back in time.
    pub async fn lacks(&self, leader: &Vote, entry: &LogId) -> Verdict {
        // The log is read first: what a later leader has it drop, or a snapshot purge, meanwhile, is seen by
        // the vote and by what is applied, which come before.
        let (held, vote) = {
            let mut log = self.log.clone();
            let held = match log.try_get_log_entries(entry.index..=entry.index).await {
                Ok(entries) => entries.first().map_or(Held::Nothing, |held| Held::Entry(held.log_id)),
                Err(_) => Held::Unreadable,
            };
            log.read_vote().await.map_or((Held::Unreadable, None), |vote| (held, vote))
        };
        let applied = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.last_applied.max(metrics.snapshot)
        };
        Verdict::of(leader, entry, &Own { vote, applied, held })
    }

    /// Waits until another replica has refused a message of ours since the group was revived without us.
    pub async fn succeeded(&self) -> Incarnation {
        self.network.later_life().heard().await
    }

    /// Returns a refusal to vote now, with what an answer to a candidate says otherwise.
    pub fn no_vote(&self) -> VoteAnswer {
        let vote = self.raft.metrics().borrow_watched().vote;
        VoteAnswer { vote, granted: false, last_log: self.replication().last_log }
    }

    /// Returns this replica's answer to a candidate; before an election, with `pre`, the request
    /// changes nothing here.
    pub async fn vote(
        &self,
        vote: Vote,
        last_log_id: Option<LogId>,
        leadership_transfer: bool,
        pre: bool,
    ) -> Result<VoteAnswer, Stopped> {
        let request = openraft::raft::VoteRequest { vote, last_log_id, leadership_transfer };
        let answer = if pre { self.raft.pre_vote(request).await } else { self.raft.vote(request).await }?;
        let openraft::raft::VoteResponse { vote, vote_granted: granted, last_log_id: last_log, .. } = answer;
        Ok(VoteAnswer { vote, granted, last_log })
    }

    /// Stands for election because the leader asks for it; the inner error is the reason if it
    /// doesn't.
    pub async fn take_over(
        &self,
        leader: Vote,
        to: ReplicaId,
        last_log: Option<LogId>,
    ) -> Result<Result<(), String>, Stopped> {
        let request = openraft::raft::TransferLeaderRequest::new(leader, to, last_log);
        let answer = self.raft.handle_transfer_leader(request).await?;
        Ok(answer.map_err(|error| error.to_string()))
    }

    /// Replaces the state by a snapshot of the leader's; returns the vote to answer with.
    pub async fn install(
        &self,
        leader: Vote,
        meta: SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<Vote, Stopped> {
        let answer = self.raft.install_full_snapshot(leader, storage::Snapshot { meta, snapshot }).await?;
        Ok(answer.vote)
    }
}

/// Follows the changes of a replica's knowledge.
#[derive(Clone)]
pub struct Watch {
    metrics: WatchReceiverOf<TypeConfig, Metrics>,
    network: NetworkFactory,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Waits for the next change; an error says that the Raft has ended.
    pub async fn changed(&mut self) -> Result<(), Stopped> {
        self.metrics.changed().await.map_err(|_| Stopped::ended())
    }

    /// Returns the leader, if one is known, and the term.
    pub fn leader(&self) -> (Option<ReplicaId>, u64) {
        let metrics = self.metrics.borrow_watched();
        (metrics.current_leader, metrics.current_term)
    }

    /// Returns the last entries that a quorum is known to have, and that are applied here.
    pub fn progress(&self) -> (Option<LogId>, Option<LogId>) {
        let metrics = self.metrics.borrow_watched();
        (metrics.cluster_committed, metrics.last_applied)
    }

    /// Returns the last entry that is known here to be committed.
    pub fn local_committed(&self) -> Option<LogId> {
        self.metrics.borrow_watched().local_committed
    }

    /// Returns the last entry that is covered by the newest snapshot.
    pub fn snapshot(&self) -> Option<LogId> {
        self.metrics.borrow_watched().snapshot
    }

    /// Returns true if this replica leads, and no majority has answered it for this time. One that leads
    /// alone needs no answer, and one that nobody has answered yet has just begun.
    pub fn is_cut_off(&self, silence: Duration) -> bool {
        let metrics = self.metrics.borrow_watched();
        let is_silent = metrics.last_quorum_acked.is_some_and(|at| at.elapsed() >= silence);
        is_silent && metrics.membership_config.membership().voter_ids().any(|id| id != metrics.id)
    }

    /// Returns the server of a member.
    pub fn server(&self, member: ReplicaId) -> Option<String> {
        let metrics = self.metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&member).map(|server| server.0.clone())
    }

    /// Returns the reason if the Raft has failed.
    pub fn failed(&self) -> Option<String> {
        self.metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }

    /// Returns true if a replica is a [settled voter](Members::is_settled_voter) by a membership that is
    /// known to be committed.
    pub fn is_settled_voter(&self, member: ReplicaId) -> bool {
        let metrics = self.metrics.borrow_watched();
        Members::from(&*metrics.committed_membership_config).is_settled_voter(member)
    }

    /// Returns all that is known now.
    pub fn view(&self) -> RaftView {
        let metrics = self.metrics.borrow_watched();
        let members = Members::from(&*metrics.membership_config);
        RaftView {
            own: metrics.id,
            role: role(metrics.state, members.voters.contains(&metrics.id)),
            failed: metrics.running_state.as_ref().err().map(ToString::to_string),
            term: metrics.current_term,
            leader: metrics.current_leader,
            committed_members: Members::from(&*metrics.committed_membership_config),
            membership_is_committed: metrics.committed_membership_config.log_id()
                == metrics.membership_config.log_id(),
            last_log: metrics.last_log_index,
            committed: metrics.cluster_committed,
            applied: metrics.last_applied,
            snapshot: metrics.snapshot,
            purged: metrics.purged,
            quorum_silence: metrics.last_quorum_acked.map(|at| at.elapsed()),
            followers: self.followers(&metrics),
            members,
        }
    }

    fn followers(&self, metrics: &Metrics) -> BTreeMap<ReplicaId, Follower> {
        let matched = |id: &ReplicaId| metrics.replication.as_ref()?.get(id).copied().flatten();
        let silence = |id: &ReplicaId| {
            let heard = metrics.heartbeat.as_ref()?.get(id).copied().flatten();
            heard.map(|at| at.elapsed())
        };
        let known = metrics.replication.iter().flat_map(BTreeMap::keys);
        let known = known.chain(metrics.heartbeat.iter().flat_map(BTreeMap::keys));
        let known: BTreeSet<ReplicaId> = known.copied().collect();
        let follower = |id: ReplicaId| {
            let receiving = self.network.receiving();
            let (installing, snapshot) = (receiving.since(id), receiving.covered(id));
            let gone_back = self.network.acknowledged().gone_back(id).is_some();
            (id, Follower { matched: matched(&id), silence: silence(&id), installing, snapshot, gone_back })
        };
        known.into_iter().map(follower).collect()
    }
}

fn role(state: ServerState, is_voter: bool) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower if is_voter => Role::Follower,
        ServerState::Follower | ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}
