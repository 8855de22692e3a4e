//! openraft with our types, and its end.

use openraft::errors::{Fatal, RaftError};

use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The reason why the Raft of a replica has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub(crate) String);

impl Stopped {
    /// Returns the reason if nothing is known but that it has ended.
    pub(crate) fn ended() -> Self {
        Stopped("its Raft has ended".into())
    }
}

impl From<Fatal<TypeConfig>> for Stopped {
    fn from(fatal: Fatal<TypeConfig>) -> Self {
        Stopped(fatal.to_string())
    }
}

impl From<RaftError<TypeConfig>> for Stopped {
    fn from(error: RaftError<TypeConfig>) -> Self {
        Stopped(error.to_string())
    }
}
