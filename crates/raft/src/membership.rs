//! Changes of a group's members. Each is relative to the membership as it is then: another leader may
//! have changed it meanwhile.
//!
//! A leader that has lost its quorum would wait for ever, and so would all that waits for its turn to change
//! members. So nobody waits longer than [`COMMIT`]. Such a change stays in the log, and openraft begins no
//! other one before it is committed. One that stopped half way then is finished by
//! [`finish_change`](Consensus::finish_change).

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use skv_sharding::ReplicaId;

use crate::consensus::Consensus;
use crate::types::{ServerName, TypeConfig};

/// The longest time for which a change is waited for.
const COMMIT: Duration = Duration::from_secs(10);

type Failure = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

/// The reason why it isn't known that a change of members is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another change isn't over; this one wasn't begun.
    #[error("another change of members is in progress")]
    InProgress,
    /// The change may have been begun.
    #[error("{0}")]
    Unfinished(String),
}

impl From<Failure> for ChangeError {
    fn from(error: Failure) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_),
            )) => ChangeError::InProgress,
            error => ChangeError::Unfinished(error.to_string()),
        }
    }
}

/// Changes of members; each method returns the index of the entry that ended the change, or an error when it
/// takes too long.
impl Consensus {
    /// Adds a member without a vote.
    pub async fn add_learner(&self, id: ReplicaId, server: String) -> Result<u64, ChangeError> {
        committed(self.raft.add_learner(id, ServerName(server), false)).await
    }

    /// Gives a learner a vote, and takes another replica out of the group.
    pub async fn promote(&self, joins: ReplicaId, leaves: Option<ReplicaId>) -> Result<u64, ChangeError> {
        let mut changes = vec![ChangeMembers::AddVoterIds(BTreeSet::from([joins]))];
        changes.extend(leaves.map(|old| ChangeMembers::RemoveVoters(BTreeSet::from([old]))));
        self.change(ChangeMembers::Batch(changes), false).await
    }

    /// Makes a voter a learner.
    pub async fn demote(&self, voter: ReplicaId) -> Result<u64, ChangeError> {
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([voter])), true).await
    }

    /// Takes a learner out of the group.
    pub async fn forget(&self, learner: ReplicaId) -> Result<u64, ChangeError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([learner])), true).await
    }

    /// Makes these the voters: the end of a change whose leader died half way.
    pub async fn finish_change(&self, voters: BTreeSet<ReplicaId>) -> Result<u64, ChangeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await
    }

    /// Changes the members. Voters that lose their vote stay as learners if `keep` is true.
    async fn change(
        &self,
        change: ChangeMembers<ReplicaId, ServerName>,
        keep: bool,
    ) -> Result<u64, ChangeError> {
        committed(self.raft.change_membership(change, keep)).await
    }
}

/// Waits until a change is committed, and returns the index of its last entry.
async fn committed(
    change: impl Future<Output = Result<ClientWriteResponse<TypeConfig>, Failure>>,
) -> Result<u64, ChangeError> {
    match tokio::time::timeout(COMMIT, change).await {
        Ok(written) => Ok(written?.log_id.index),
        Err(_) => Err(ChangeError::Unfinished(format!("the change wasn't committed within {COMMIT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_a_change_that_a_lost_quorum_never_commits() {
        let ended = tokio::time::timeout(COMMIT * 2, committed(std::future::pending())).await;
        assert!(matches!(ended, Ok(Err(ChangeError::Unfinished(_)))), "{ended:?}");
    }
}
