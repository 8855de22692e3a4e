//! The proof that this replica led at some moment after a read arrived.

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use skv_sharding::ReplicaId;

use crate::engine::Raft;
use crate::types::TypeConfig;

/// The reason why a read can't be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another replica leads.
    #[error("this replica is not the leader")]
    NotLeader(Option<ReplicaId>),
    /// No majority confirms that this replica leads.
    #[error("no majority answers the leader")]
    NoQuorum,
    /// Its Raft has ended.
    #[error("{0}")]
    Stopped(String),
}

impl From<RaftError<TypeConfig, LinearizableReadError<TypeConfig>>> for ReadError {
    fn from(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> Self {
        match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
                ReadError::NotLeader(forward.leader_id)
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::NoQuorum,
            RaftError::Fatal(fatal) => ReadError::Stopped(fatal.to_string()),
        }
    }
}

/// Confirms reads.
#[derive(Clone)]
pub struct Reads(Raft);

impl Reads {
    pub(crate) fn new(raft: Raft) -> Self {
        Reads(raft)
    }

    /// Returns once this replica led, and has applied all that was committed, at some moment after
    /// the call: by one round of ReadIndex.
    pub async fn confirm(&self) -> Result<(), ReadError> {
        let linearizer = self.0.get_read_linearizer(ReadPolicy::ReadIndex).await?;
        let read_index = linearizer.read_log_id().index();
        let mut progress = self.0.watch_apply_progress();
        let reached =
            progress.wait_until(|applied| applied.as_ref().is_some_and(|id| id.index >= read_index));
        reached.await.map(drop).map_err(|_| ReadError::Stopped("the replica is stopping".into()))
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}
