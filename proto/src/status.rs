//! Conclusions from a server's status.

use crate::v1::{ReplicaIdentity, ReplicaState, ReplicaStatus};

impl ReplicaStatus {
    /// Returns true if the replica leads, and a majority answers it.
    pub fn leads_a_quorum(&self) -> bool {
        self.state() == ReplicaState::Leader && self.quorum_lost_ms == 0
    }

    /// Returns the replica that it is about; `None` while that has no place in a group.
    pub fn identity(&self) -> Option<ReplicaIdentity> {
        (self.group_uid != 0).then_some(ReplicaIdentity {
            cluster_id: self.cluster_id,
            group_uid: self.group_uid,
            incarnation: self.incarnation,
            replica: self.replica,
        })
    }

    /// Returns the incarnation of its group, its term there, and the leader that it follows: of two
    /// replicas of a group the one of which these are greater knows more. Terms alone don't suffice, since
    /// they begin again with an incarnation, and since within a term a replica of a higher id may depose
    /// another.
    pub fn reign(&self) -> (u32, u64, u64) {
        (self.incarnation, self.term, self.leader)
    }
}
