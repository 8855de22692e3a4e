//! The reasons why a stream of items is no state.

use crate::facts::RecordError;

/// Items that are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The group's facts are invalid.
    #[error(transparent)]
    Facts(#[from] RecordError),
}
