//! What follows from what a server says of itself.

use crate::v1::{ReplicaState, ReplicaStatus};

impl ReplicaStatus {
    /// Whether the replica leads, and a majority answers it.
    pub fn leads_a_quorum(&self) -> bool {
        self.state() == ReplicaState::Leader && self.quorum_lost_ms == 0
    }

    /// The incarnation of its group, its term there, and the leader that it follows: of two replicas of a
    /// group the one of which this is greater knows more. Terms alone don't say so, since they begin anew
    /// with an incarnation, and since within a term a replica of a higher id may depose another.
    pub fn reign(&self) -> (u32, u64, u64) {
        (self.incarnation, self.term, self.leader)
    }
}
