//! A replica's state for people and operators.

use std::time::Duration;

use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use skv_proto::v1;
use skv_raft::types::LogId;
use skv_raft::wire::Wire as _;
use skv_sharding::ReplicaId;
use skv_store::Part;

use super::{Replica, Running, State};

impl Replica {
    /// Everything that there is to say.
    pub fn status(&self) -> v1::ReplicaStatus {
        let base = |state: v1::ReplicaState, id: Option<ReplicaId>, problem: String| v1::ReplicaStatus {
            group: self.group.0,
            replica: id.map_or(0, |id| id.0),
            state: state as i32,
            problem,
            ..v1::ReplicaStatus::default()
        };
        match self.state() {
            State::Waiting { replica, reason } => base(v1::ReplicaState::Waiting, replica, reason),
            State::Broken(problem) => base(v1::ReplicaState::Quarantined, None, problem),
            State::Reviving(reset) => base(v1::ReplicaState::Waiting, None, reset.progress().to_owned()),
            State::Stopped => base(v1::ReplicaState::Stopped, None, "the server is stopping".into()),
            State::Running(running) => running.status(),
        }
    }

    /// `Err` says what keeps it from being ready.
    pub fn ready(&self) -> Result<(), String> {
        match self.state() {
            State::Waiting { reason: problem, .. } | State::Broken(problem) => Err(problem),
            State::Reviving(reset) => Err(reset.progress().to_owned()),
            State::Stopped => Err("the server is stopping".into()),
            State::Running(running) => running.ready(),
        }
    }
}

impl Running {
    /// `Err` says what keeps the replica from being ready.
    pub fn ready(&self) -> Result<(), String> {
        if self.store.facts().is_none() {
            return Err("its group is not founded yet".into());
        }
        self.readiness.check(&self.raft.metrics().borrow_watched())
    }

    fn status(&self) -> v1::ReplicaStatus {
        let ready = self.ready();
        let stats = self.store.stats();
        let metrics = self.raft.metrics().borrow_watched().clone();
        // The end of the log with its term, and how far others have it at the same moment.
        let data = self.raft.data_metrics().borrow_watched().clone();
        let wire = |id: Option<LogId>| id.map(|id| id.to_wire());
        let voter = metrics.membership_config.membership().voter_ids().any(|id| id == metrics.id);
        let state = match metrics.state {
            ServerState::Leader => v1::ReplicaState::Leader,
            ServerState::Candidate => v1::ReplicaState::Candidate,
            ServerState::Follower if voter => v1::ReplicaState::Follower,
            ServerState::Follower | ServerState::Learner => v1::ReplicaState::Learner,
            ServerState::Shutdown => v1::ReplicaState::Stopped,
        };
        let millis = |silence: Duration| silence.as_millis() as u64;
        let others = data.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
        let peers = others.map(|(id, matched)| {
            let heard = data.heartbeat.as_ref().and_then(|h| h.get(id).copied().flatten());
            let server = metrics.membership_config.membership().get_node(id);
            v1::PeerProgress {
                replica: id.0,
                server: server.map_or(String::new(), |name| name.0.clone()),
                matched: wire(*matched),
                silent_ms: heard.map_or(u64::MAX, |at| millis(at.elapsed())),
            }
        });
        v1::ReplicaStatus {
            group: self.place.group.0,
            group_uid: self.place.uid.0,
            incarnation: self.place.incarnation.0,
            cluster_id: self.place.cluster.0,
            replica: self.place.replica.0,
            state: state as i32,
            ready: ready.is_ok(),
            problem: ready.err().unwrap_or_default(),
            term: metrics.current_term,
            leader: metrics.current_leader.map_or(0, |id| id.0),
            last_log: wire(data.last_log),
            committed: wire(metrics.cluster_committed),
            applied: wire(metrics.last_applied),
            snapshot: wire(metrics.snapshot),
            purged: wire(metrics.purged),
            membership: Some(metrics.membership_config.to_wire()),
            shards_owned: stats.owned(),
            shards_queued: stats.of(Part::Queued),
            shards_copying: stats.of(Part::Copying),
            shards_frozen: stats.of(Part::Frozen),
            shards_arriving: stats.of(Part::Arriving),
            retired: self.store.is_retired(),
            keys: stats.keys,
            bytes: stats.bytes,
            sessions: stats.sessions,
            disk_full: self.space.is_full(),
            quorum_lost_ms: self.readiness.quorum_lost(&metrics).map_or(0, millis),
            peers: peers.collect(),
            obeyed_version: self.store.obeyed_version(),
            log_bytes: self.applied_bytes.load(std::sync::atomic::Ordering::Relaxed),
        }
    }
}
