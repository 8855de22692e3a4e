//! Who leads the group, as far as this replica knows.

use std::sync::Arc;
use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::type_config::alias::WatchReceiverOf;
use skv_net::{Addresses, Listener};
use skv_proto::Error;
use skv_sharding::{GroupId, Replica, ReplicaId};

use super::{Readiness, TypeConfig};

/// Answers "ask somebody else".
#[derive(Clone)]
pub struct LeaderHints {
    group: GroupId,
    own: ReplicaId,
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    readiness: Readiness,
    silence: Duration,
    addresses: Arc<Addresses>,
}

impl std::fmt::Debug for LeaderHints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderHints").field("group", &self.group).finish_non_exhaustive()
    }
}

impl LeaderHints {
    /// Hints for one replica. A leader that was silent for `silence` is named to nobody.
    pub fn new(
        group: GroupId,
        own: ReplicaId,
        metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
        readiness: Readiness,
        silence: Duration,
        addresses: Arc<Addresses>,
    ) -> Self {
        LeaderHints { group, own, metrics, readiness, silence, addresses }
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

    /// The refusal that names the leader: the given one, else the one that this replica follows; none
    /// that is silent, which may be gone.
    pub fn not_leader(&self, leader: Option<ReplicaId>) -> Error {
        let (known, term) = self.leader();
        // A leader that was just deposed may still name itself.
        let is_other = |leader: &ReplicaId| *leader != self.own;
        let leader = leader.or(known).filter(is_other).filter(|_| self.readiness.follows(self.silence));
        Error::NotLeader { group: self.group, leader: leader.and_then(|leader| self.replica(leader)), term }
    }

    fn replica(&self, id: ReplicaId) -> Option<Replica> {
        let server = self.metrics.borrow_watched().membership_config.membership().get_node(&id)?.0.clone();
        let client_address = self.addresses.known(&server, Listener::Client)?;
        let peer_address = self.addresses.known(&server, Listener::Peer)?;
        Some(Replica { id, server, client_address, peer_address, instance: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use openraft::type_config::TypeConfigExt as _;
    use openraft::{Membership, StoredMembership};

    use super::*;
    use skv_net::{NamedServer, ServerAddresses};
    use skv_raft::types::ServerName;

    const LEADER: ReplicaId = ReplicaId(2);

    /// What a replica knows that last followed [`LEADER`].
    fn hints(readiness: Readiness, silence: Duration) -> LeaderHints {
        let mut metrics = RaftMetrics::new_initial(ReplicaId(1));
        metrics.current_leader = Some(LEADER);
        let members = [(LEADER, ServerName("kv-1".into()))];
        let members = Membership::new(vec![[LEADER].into()], std::collections::BTreeMap::from(members));
        metrics.membership_config = Arc::new(StoredMembership::new(None, members.unwrap()));
        let (_, metrics) = TypeConfig::watch_channel(metrics);
        let addresses = ServerAddresses { client: "kv-1:7000".into(), peer: "kv-1:7001".into() };
        let addresses = Addresses::fixed([NamedServer { name: "kv-1".into(), addresses }]);
        LeaderHints::new(GroupId(0), ReplicaId(1), metrics, readiness, silence, Arc::new(addresses))
    }

    fn named(hints: &LeaderHints) -> Option<ReplicaId> {
        let Error::NotLeader { leader, .. } = hints.not_leader(Some(LEADER)) else { panic!("another error") };
        leader.map(|leader| leader.id)
    }

    #[test]
    fn a_leader_is_named_only_while_it_is_heard() {
        let readiness = Readiness::default();
        let patient = hints(readiness.clone(), Duration::from_hours(1));
        assert_eq!(named(&patient), None, "it was never heard");
        readiness.heard_leader();
        assert_eq!(named(&patient), Some(LEADER));
        assert_eq!(named(&hints(readiness, Duration::ZERO)), None);
    }
}
