//! Taking a replica out of its group, when a person or the operator asks for it.
//!
//! A voter becomes a learner first. So it learns of its removal like of any entry: it stops
//! to vote and to be ready, and never calls an election against a group that goes on without
//! it. Its log stays whole, and it may be admitted again under its id.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use skv_raft::types::ServerName;
use skv_sharding::ReplicaId;

use super::situation::{Removal, Situation};
use super::{Running, TypeConfig};

/// How long those that stay may take to have the log as it was when they were asked for.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long a change may take to be committed.
const COMMIT: Duration = Duration::from_secs(10);
/// How long the removed replica may take to learn of it; one that is dead never does.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a replica was not taken out of its group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    /// Only the leader changes members.
    #[error("this replica is not the leader")]
    NotLeader,
    /// Without it there would be no group.
    #[error("{0} is the only voter of its group")]
    LastVoter(ReplicaId),
    /// The leader doesn't remove itself.
    #[error("{0} leads the group: hand the leadership over first")]
    Leads(ReplicaId),
    /// Another change isn't over.
    #[error("another change of members is in progress; ask again when it is over")]
    ChangeInProgress,
    /// Those that stay couldn't go on.
    #[error(
        "of the {staying} voters that would stay {able} answer and have the whole log, but {needed} are needed; ask \
         again when more have caught up"
    )]
    NoQuorum {
        /// How many answer and have the whole log.
        able: usize,
        /// How many must.
        needed: usize,
        /// How many voters would stay.
        staying: usize,
    },
    /// It was begun.
    #[error("it isn't known whether {0} is a member now: {1}; ask again")]
    Unfinished(ReplicaId, String),
}

impl Running {
    /// Takes a replica out of the group; done at once if it is no member.
    pub async fn remove(&self, id: ReplicaId) -> Result<(), RemovalError> {
        let Ok(_turn) = self.changing_members.try_lock() else {
            return Err(RemovalError::ChangeInProgress);
        };
        let removal = self.await_removal(id).await?;
        if removal == Removal::Done {
            return Ok(());
        }
        tracing::info!(group = %self.place.group, replica = %id, "removing a replica");
        if removal == Removal::Voter {
            let demotion = self.change_members(id, ChangeMembers::RemoveVoters(BTreeSet::from([id]))).await?;
            let told = self.await_metrics(FAREWELL, |metrics| {
                let matched = metrics.replication.as_ref()?.get(&id)?.as_ref()?;
                (matched.index >= demotion).then_some(())
            });
            if told.await.is_none() {
                tracing::info!(group = %self.place.group, replica = %id, "it can't be told that it is removed");
            }
        }
        self.change_members(id, ChangeMembers::RemoveNodes(BTreeSet::from([id]))).await?;
        tracing::info!(group = %self.place.group, replica = %id, "the replica is no member any more");
        Ok(())
    }

    /// Waits a moment for those that stay to be a quorum.
    async fn await_removal(&self, id: ReplicaId) -> Result<Removal, RemovalError> {
        let whole_log = self.raft.metrics().borrow_watched().last_log_index;
        let mut missing = RemovalError::NotLeader;
        let judged = self.await_metrics(CATCH_UP, |metrics| {
            // Who never answered this leader counts as silent, however new it is.
            let situation = Situation {
                metrics,
                office: Duration::MAX,
                replace_after: Duration::MAX,
                receiving: self.network.receiving(),
            };
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

    /// Answers the index of the entry that ended the change.
    async fn change_members(
        &self,
        id: ReplicaId,
        change: ChangeMembers<ReplicaId, ServerName>,
    ) -> Result<u64, RemovalError> {
        // Relative to the membership as it is then: another leader may have changed it meanwhile.
        match tokio::time::timeout(COMMIT, self.raft.change_membership(change, true)).await {
            Ok(Ok(changed)) => Ok(changed.log_id.index),
            Ok(Err(error)) if is_in_progress(&error) => Err(RemovalError::ChangeInProgress),
            Ok(Err(error)) => Err(RemovalError::Unfinished(id, error.to_string())),
            Err(_) => {
                Err(RemovalError::Unfinished(id, format!("the change wasn't committed within {COMMIT:?}")))
            }
        }
    }
}

fn is_in_progress(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> bool {
    matches!(
        error,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)))
    )
}
