//! Who leads the group, as far as this replica knows.

use std::sync::Arc;

use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::type_config::alias::WatchReceiverOf;
use skv_proto::Error;
use skv_sharding::{GroupId, Replica, ReplicaId};

use super::TypeConfig;
use crate::addresses::{Addresses, Listener};

/// Answers "ask somebody else".
#[derive(Clone)]
pub struct LeaderHints {
    group: GroupId,
    own: ReplicaId,
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    addresses: Arc<Addresses>,
}

impl std::fmt::Debug for LeaderHints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderHints").field("group", &self.group).finish_non_exhaustive()
    }
}

impl LeaderHints {
    /// Hints for one replica.
    pub fn new(
        group: GroupId,
        own: ReplicaId,
        metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
        addresses: Arc<Addresses>,
    ) -> Self {
        LeaderHints { group, own, metrics, addresses }
    }

    /// Whether this replica believes to lead.
    pub fn is_leader(&self) -> bool {
        self.metrics.borrow_watched().current_leader == Some(self.own)
    }

    /// The leader and its term, if one is known.
    pub fn leader(&self) -> (Option<ReplicaId>, u64) {
        let metrics = self.metrics.borrow_watched();
        (metrics.current_leader, metrics.current_term)
    }

    /// The refusal that names the leader: the given one, else the one that this replica follows.
    pub fn not_leader(&self, leader: Option<ReplicaId>) -> Error {
        let (known, term) = self.leader();
        // A leader that was just deposed may still name itself.
        let leader = leader.or(known).filter(|leader| *leader != self.own);
        Error::NotLeader { group: self.group, leader: leader.and_then(|leader| self.replica(leader)), term }
    }

    fn replica(&self, id: ReplicaId) -> Option<Replica> {
        let server = self.metrics.borrow_watched().membership_config.membership().get_node(&id)?.0.clone();
        let client_address = self.addresses.known(&server, Listener::Client)?;
        let peer_address = self.addresses.known(&server, Listener::Peer)?;
        Some(Replica { id, server, client_address, peer_address, instance: String::new() })
    }
}
