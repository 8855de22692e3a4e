//! Entries that are proposed: the outcome of one, and the reason why none was appended.

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use openraft::impls::OneshotResponder;
use openraft::raft::ClientWriteResult;
use skv_sharding::ReplicaId;
use skv_store::Applied;
use tokio::sync::oneshot;

use crate::engine::Raft;
use crate::types::{EncodedEntry, TypeConfig};

/// The reason why the outcome of a proposed entry isn't known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica doesn't lead: nothing was appended.
    #[error("this replica is not the leader")]
    NotLeader(Option<ReplicaId>),
    /// The entry may be applied, now or later.
    #[error("{0}")]
    Unknown(String),
    /// A defect: no entry of ours is refused otherwise.
    #[error("{0}")]
    Internal(String),
}

impl From<ClientWriteError<TypeConfig>> for ProposeError {
    fn from(error: ClientWriteError<TypeConfig>) -> Self {
        match error {
            ClientWriteError::ForwardToLeader(forward) => ProposeError::NotLeader(forward.leader_id),
            // The entry may survive under the next leader.
            ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown(error.to_string()),
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
                ProposeError::Internal(error.to_string())
            }
        }
    }
}

/// An entry that was handed to the leader's log.
#[derive(Debug)]
pub struct Proposal(oneshot::Receiver<ClientWriteResult<TypeConfig>>);

impl Proposal {
    pub(crate) async fn submit(raft: &Raft, entry: Bytes) -> Result<Self, ProposeError> {
        let (responder, result) = OneshotResponder::new_pair();
        let submitted = raft.client_write_ff(EncodedEntry(entry), Some(responder)).await;
        // It may have reached the core before that stopped.
        submitted.map_err(|fatal| ProposeError::Unknown(fatal.to_string()))?;
        Ok(Proposal(result))
    }

    /// Waits until the entry is applied here.
    pub async fn applied(self) -> Result<Applied, ProposeError> {
        match self.0.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ProposeError::Unknown("the replica stopped meanwhile".into())),
        }
    }
}
