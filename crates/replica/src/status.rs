//! A replica's state for people and operators.

use std::time::Duration;

use skv_proto::v1;
use skv_raft::Role;
use skv_raft::types::LogId;
use skv_raft::wire::Wire as _;
use skv_sharding::ReplicaId;
use skv_store::ShardState;

use crate::replica::{Replica, State};
use crate::running::Running;

impl Replica {
    /// Returns everything that is known of it.
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
            State::Broken(problem) => base(v1::ReplicaState::Broken, None, problem),
            State::Reviving { reset, before } => v1::ReplicaStatus {
                reset: Some(reset.progress()),
                problem: reset.description().to_owned(),
                ..(*before).clone()
            },
            State::Stopped => base(v1::ReplicaState::Stopped, None, "the server is stopping".into()),
            State::Running(running) => running.status(),
        }
    }

    /// Checks that it is ready; the error is the reason why it isn't.
    pub fn ready(&self) -> Result<(), String> {
        match self.state() {
            State::Waiting { reason: problem, .. } | State::Broken(problem) => Err(problem),
            State::Reviving { reset, .. } => Err(reset.description().to_owned()),
            State::Stopped => Err("the server is stopping".into()),
            State::Running(running) => running.ready(),
        }
    }
}

impl Running {
    /// Returns the part of the status that stays true when its Raft has ended: people who look at the group
    /// meanwhile must see that this replica has what it has, and revive no other one.
    pub(super) fn remains(&self) -> v1::ReplicaStatus {
        v1::ReplicaStatus {
            state: v1::ReplicaState::Waiting as i32,
            ready: false,
            leader: 0,
            membership: None,
            peers: Vec::new(),
            quorum_lost_ms: 0,
            disk_full: false,
            memory_full: false,
            ..self.status()
        }
    }

    /// Checks that the replica is ready; the error is the reason why it isn't.
    pub fn ready(&self) -> Result<(), String> {
        if self.store.facts().is_none() {
            return Err("its group is not founded yet".into());
        }
        self.readiness.check(&self.consensus.view())
    }

    /// Returns true if no write can be committed, for want of room here or on a majority of the disks.
    pub(super) fn is_full_on_disk(&self) -> bool {
        self.writes.is_full() || !self.consensus.can_commit()
    }

    /// Returns true if nothing is taken here that makes the data grow.
    pub(super) fn is_full_in_memory(&self) -> bool {
        let memory = self.writes.memory();
        memory.is_full() || self.hints.is_leader() && !memory.is_open()
    }

    fn status(&self) -> v1::ReplicaStatus {
        let ready = self.ready();
        let stats = self.store.stats();
        let view = self.consensus.view();
        // The end of the log with its term, and the part of it that others have at the same moment.
        let replication = self.consensus.replication();
        let wire = |id: Option<LogId>| id.map(|id| id.to_wire());
        let state = match view.role {
            Role::Leader => v1::ReplicaState::Leader,
            Role::Candidate => v1::ReplicaState::Candidate,
            Role::Follower => v1::ReplicaState::Follower,
            Role::Learner => v1::ReplicaState::Learner,
            Role::Stopped => v1::ReplicaState::Stopped,
        };
        let millis = |silence: Duration| silence.as_millis() as u64;
        let former = self.former.lock().clone();
        let others = replication.followers.iter().filter(|(id, _)| **id != view.own);
        let peers = others.map(|(id, follower)| v1::PeerProgress {
            replica: id.0,
            server: view.members.servers.get(id).cloned().unwrap_or_default(),
            matched: wire(follower.matched),
            silent_ms: follower.silence.map_or(u64::MAX, millis),
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
            term: view.term,
            leader: view.leader.map_or(0, |id| id.0),
            last_log: wire(replication.last_log),
            committed: wire(view.committed),
            applied: wire(view.applied),
            snapshot: wire(view.snapshot),
            purged: wire(view.purged),
            membership: Some(self.consensus.membership()),
            shards_owned: stats.owned(),
            shards_queued: stats.of(ShardState::Queued),
            shards_copying: stats.of(ShardState::Copying),
            shards_frozen: stats.of(ShardState::Frozen),
            shards_arriving: stats.of(ShardState::Arriving),
            retired: self.store.is_retired(),
            keys: stats.keys,
            bytes: stats.bytes,
            sessions: stats.sessions,
            disk_full: self.writes.is_full(),
            memory_full: self.is_full_in_memory(),
            quorum_lost_ms: self.readiness.quorum_lost(&view).map_or(0, millis),
            peers: peers.collect(),
            obeyed_version: self.store.obeyed_revision().0,
            log_bytes: self.snapshots.log_bytes(),
            former_bytes: former.as_ref().map_or(0, |former| former.bytes),
            former_dir: former.map_or_else(String::new, |former| former.dir.display().to_string()),
            time_ms: self.store.time(),
            reset: None,
        }
    }
}
