//! What follows from what a server says of itself.

use crate::v1::{ReplicaState, ReplicaStatus};

impl ReplicaStatus {
    /// Whether the replica leads, and a majority answers it.
    pub fn leads_a_quorum(&self) -> bool {
        self.state() == ReplicaState::Leader && self.quorum_lost_ms == 0
    }
}
