//! Conclusions from a server's status.

use crate::v1::{ReplicaState, ReplicaStatus};

impl ReplicaStatus {
    /// Returns true if the replica leads, and a majority answers it.
    pub fn leads_a_quorum(&self) -> bool {
        self.state() == ReplicaState::Leader && self.quorum_lost_ms == 0
    }

    /// Returns the incarnation of its group and its term there: of two replicas of a group the one with the
    /// greater pair knows more. Terms alone don't suffice, since they begin again with an incarnation.
    pub fn reign(&self) -> (u32, u64) {
        (self.incarnation, self.term)
    }
}
