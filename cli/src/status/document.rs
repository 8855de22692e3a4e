//! The status of a store as a document.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;
use skv_proto::v1;
use skv_proto::v1::ReplicaState;
use skv_sharding::{ClusterId, GroupId, ReplicaId};

use crate::admin::{Member, is_leader};
use crate::{complaint, shards};

#[derive(Serialize)]
pub(super) struct Status {
    /// The store, if it is one of this machine that was named, or chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store: Option<Store>,
    pub(super) cluster: ClusterId,
    pub(super) configuration: u64,
    pub(super) shards: u32,
    pub(super) groups: Vec<Group>,
}

#[derive(Serialize)]
pub(super) struct Store {
    pub(super) name: String,
    pub(super) data_dir: PathBuf,
    pub(super) manager_address: String,
}

#[derive(Serialize)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) shards: u32,
    pub(super) leader: Option<String>,
    /// True if a leader reaches a majority.
    pub(super) quorum: bool,
    pub(super) replicas: Vec<Replica>,
}

/// A replica. What only it could tell is `null` while it can't be reached.
#[derive(Serialize)]
pub(super) struct Replica {
    pub(super) id: ReplicaId,
    pub(super) server: String,
    pub(super) client_address: String,
    pub(super) peer_address: String,
    /// The process, of a store of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    pub(super) state: &'static str,
    pub(super) ready: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) problem: String,
    pub(super) term: Option<u64>,
    pub(super) last_log_index: Option<u64>,
    pub(super) applied_index: Option<u64>,
    pub(super) keys: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) sessions: Option<u64>,
    pub(super) log_bytes: Option<u64>,
    pub(super) disk_full: Option<bool>,
    pub(super) memory_full: Option<bool>,
    /// The bytes that its server keeps of the group's former lives, from before it was reset.
    pub(super) former_bytes: Option<u64>,
    /// The directory of that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) former_dir: String,
}

impl Group {
    pub(super) fn new(
        map: &v1::ShardMap,
        group: &v1::Group,
        members: &[Member],
        pids: &HashMap<String, u32>,
    ) -> Group {
        let members = || members.iter().filter(|member| member.group == GroupId(group.id));
        let leading = members().filter(|member| member.leads_a_quorum());
        let leader = leading.max_by_key(|member| member.status.as_ref().ok().map(v1::ReplicaStatus::reign));
        let mut replicas: Vec<Replica> = members().map(|member| Replica::new(member, pids)).collect();
        replicas.sort_by_cached_key(|replica| shards::in_order(&replica.server));
        Group {
            id: GroupId(group.id),
            shards: map.ranges.iter().filter(|range| range.group == group.id).map(|range| range.count).sum(),
            leader: leader.map(|member| member.replica.server.clone()),
            quorum: leader.is_some(),
            replicas,
        }
    }

    pub(super) fn has_no_majority(&self) -> bool {
        !self.quorum
    }
}

impl Replica {
    fn new(member: &Member, pids: &HashMap<String, u32>) -> Replica {
        let status = member.status.as_ref().ok();
        let index = |log_id: Option<v1::LogId>| log_id.map_or(0, |log_id| log_id.index);
        let problem = match &member.status {
            Err(error) => complaint::text(error),
            Ok(status) if is_leader(status) && status.quorum_lost_ms > 0 => {
                format!("no majority has answered for {} s", status.quorum_lost_ms / 1000)
            }
            Ok(status) if status.disk_full => {
                "no room for its log, whose next file needs 16 MiB unless told otherwise: the disk is full, or takes \
                 no new file"
                    .to_owned()
            }
            Ok(status) if status.memory_full => {
                "no room in memory: what makes the data grow is refused".to_owned()
            }
            Ok(status) => status.problem.clone(),
        };
        Replica {
            id: ReplicaId(member.replica.id),
            server: member.replica.server.clone(),
            client_address: member.replica.client_address.clone(),
            peer_address: member.replica.peer_address.clone(),
            pid: pids.get(&member.replica.server).copied(),
            state: status.map_or("unreachable", |status| state(status.state())),
            ready: status.is_some_and(|status| status.ready),
            problem,
            term: status.map(|status| status.term),
            last_log_index: status.map(|status| index(status.last_log)),
            applied_index: status.map(|status| index(status.applied)),
            keys: status.map(|status| status.keys),
            bytes: status.map(|status| status.bytes),
            sessions: status.map(|status| status.sessions),
            log_bytes: status.map(|status| status.log_bytes),
            disk_full: status.map(|status| status.disk_full),
            memory_full: status.map(|status| status.memory_full),
            former_bytes: status.map(|status| status.former_bytes),
            former_dir: status.map(|status| status.former_dir.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.state == "unreachable"
    }
}

fn state(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Unspecified => "unknown",
        ReplicaState::Waiting => "waiting",
        ReplicaState::Learner => "learner",
        ReplicaState::Follower => "follower",
        ReplicaState::Candidate => "candidate",
        ReplicaState::Leader => "leader",
        ReplicaState::Broken => "broken",
        ReplicaState::Stopped => "stopped",
    }
}
