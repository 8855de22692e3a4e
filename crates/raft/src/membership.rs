//! Changes of a group's members. Each is relative to the membership as it is then: another leader may
//! have changed it meanwhile.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use skv_sharding::ReplicaId;

use crate::consensus::Consensus;
use crate::types::{ServerName, TypeConfig};

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

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for ChangeError {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_),
            )) => ChangeError::InProgress,
            error => ChangeError::Unfinished(error.to_string()),
        }
    }
}

/// Changes of members; each method returns the index of the entry that ended the change.
impl Consensus {
    /// Adds a member without a vote.
    pub async fn add_learner(&self, id: ReplicaId, server: String) -> Result<u64, ChangeError> {
        Ok(self.raft.add_learner(id, ServerName(server), false).await?.log_id.index)
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
        Ok(self.raft.change_membership(change, keep).await?.log_id.index)
    }
}
