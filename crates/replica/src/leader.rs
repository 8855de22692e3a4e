//! The leader of the group, as far as this replica knows.

use std::sync::Arc;
use std::time::Duration;

use skv_net::{Addresses, Listener};
use skv_proto::Error;
use skv_raft::Watch;
use skv_sharding::{GroupId, Replica, ReplicaId};

use crate::readiness::Readiness;

/// Makes the refusals that name the leader.
#[derive(Clone)]
pub struct LeaderHints {
    group: GroupId,
    own: ReplicaId,
    watch: Watch,
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
    /// Returns hints for one replica. A leader that was silent for `silence` is named to nobody.
    pub fn new(
        group: GroupId,
        own: ReplicaId,
        watch: Watch,
        readiness: Readiness,
        silence: Duration,
        addresses: Arc<Addresses>,
    ) -> Self {
        LeaderHints { group, own, watch, readiness, silence, addresses }
    }

    /// Returns true if this replica believes to lead.
    pub fn is_leader(&self) -> bool {
        self.watch.leader().0 == Some(self.own)
    }

    /// Returns true if this replica leads, and no majority has answered it for this time.
    pub(crate) fn is_cut_off(&self, silence: Duration) -> bool {
        self.watch.is_cut_off(silence)
    }

    /// Returns the refusal that names the leader: the given one, else the one that this replica
    /// follows; no leader that is silent, which may be gone.
    pub fn not_leader(&self, leader: Option<ReplicaId>) -> Error {
        let (known, term) = self.watch.leader();
        let leader = self.named(leader.or(known));
        Error::NotLeader { group: self.group, leader: leader.and_then(|leader| self.replica(leader)), term }
    }

    fn named(&self, leader: Option<ReplicaId>) -> Option<ReplicaId> {
        worth_naming(leader, self.own, &self.readiness, self.silence)
    }

    fn replica(&self, id: ReplicaId) -> Option<Replica> {
        let server = self.watch.server(id)?;
        let client_address = self.addresses.known(&server, Listener::Client)?;
        let peer_address = self.addresses.known(&server, Listener::Peer)?;
        Some(Replica { id, server, client_address, peer_address, instance: String::new() })
    }
}

fn worth_naming(
    leader: Option<ReplicaId>,
    own: ReplicaId,
    readiness: &Readiness,
    silence: Duration,
) -> Option<ReplicaId> {
    // A leader that was just deposed may still name itself.
    let is_other = |leader: &ReplicaId| *leader != own;
    leader.filter(is_other).filter(|_| readiness.follows(silence))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ReplicaId = ReplicaId(1);
    const LEADER: ReplicaId = ReplicaId(2);
    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_leader_is_named_only_while_it_is_heard() {
        let readiness = Readiness::default();
        let named =
            |leader, readiness: &Readiness, silence| worth_naming(Some(leader), OWN, readiness, silence);
        assert_eq!(named(LEADER, &readiness, LONG), None, "it was never heard");
        readiness.heard_leader();
        assert_eq!(named(LEADER, &readiness, LONG), Some(LEADER));
        assert_eq!(named(LEADER, &readiness, Duration::ZERO), None);
        assert_eq!(named(OWN, &readiness, LONG), None, "who was deposed names nobody");
    }
}
