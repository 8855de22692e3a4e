//! openraft with our types, and how it ends.

use openraft::errors::{Fatal, RaftError};

use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The Raft of a replica has ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub(crate) String);

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
