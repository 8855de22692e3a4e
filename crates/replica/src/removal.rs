//! The removal of a replica from its group, when a person or the operator asks for it.
//!
//! A voter becomes a learner first. So it learns of its removal like of any entry: it stops to vote
//! and to be ready, and never calls an election against a group that goes on without it. Its log
//! stays whole, and it may be admitted again under its id.

use std::time::Duration;

use skv_raft::{ChangeError, RaftView};
use skv_sharding::ReplicaId;

use crate::members::Changes;
use crate::situation::{Removal, RemovalError, Situation};

/// The time in which the replicas that stay must have the log as it was when the removal began.
const CATCH_UP: Duration = Duration::from_secs(1);
/// The time in which the removed replica can learn of its removal; one that is dead never does.
const FAREWELL: Duration = Duration::from_secs(1);

impl Changes {
    /// Takes a replica out of the group; done at once if it is no member.
    pub(crate) async fn remove(&self, id: ReplicaId) -> Result<(), RemovalError> {
        let Some(_turn) = self.try_turn() else {
            return Err(RemovalError::ChangeInProgress);
        };
        let removal = self.await_removal(id).await?;
        if removal == Removal::Done {
            return Ok(());
        }
        tracing::info!(group = %self.place.group, replica = %id, "removing a replica");
        if removal == Removal::Voter {
            let demotion = self.consensus.demote(id).await.map_err(|error| not_over(id, error))?;
            let has_it = |view: &RaftView| (view.matched(id) >= Some(demotion)).then_some(());
            let told = self.consensus.await_view(FAREWELL, has_it);
            if told.await.is_none() {
                tracing::info!(group = %self.place.group, replica = %id, "it can't be told that it is removed");
            }
        }
        self.consensus.forget(id).await.map_err(|error| not_over(id, error))?;
        tracing::info!(group = %self.place.group, replica = %id, "the replica is no member any more");
        Ok(())
    }

    /// Waits a moment until the replicas that stay are a quorum.
    async fn await_removal(&self, id: ReplicaId) -> Result<Removal, RemovalError> {
        let whole_log = self.consensus.view().last_log;
        let mut missing = RemovalError::NotLeader;
        let judged = self.consensus.await_view(CATCH_UP, |view| {
            // A replica that never answered this leader counts as silent, however new the leader is.
            let situation = Situation { view, leads_for: Duration::MAX, replace_after: Duration::MAX };
            match situation.removal(id, whole_log) {
                Err(error @ RemovalError::NoQuorum { .. }) => {
                    missing = error;
                    None
                }
                judged => Some(judged),
            }
        });
        judged.await.unwrap_or(Err(missing))
    }
}

/// Returns the error about a step of a removal that isn't known to be over.
fn not_over(id: ReplicaId, error: ChangeError) -> RemovalError {
    match error {
        ChangeError::InProgress => RemovalError::ChangeInProgress,
        ChangeError::Unfinished(reason) => RemovalError::Unfinished(id, reason),
    }
}
