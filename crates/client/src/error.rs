//! The ways in which a call can fail.

use skv_sharding::Revision;

/// The reason why a call has no answer. Only [`OutcomeUnknown`](Error::OutcomeUnknown) leaves open
/// whether a mutation was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The options or the call are invalid; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// Every transmission was refused: the call was never applied and never will be.
    #[error("refused: {0}")]
    Refused(skv_proto::Error),
    /// No replica of the key's group serves, according to those that could be asked. The call was
    /// never applied and never will be.
    #[error("{0}")]
    NoLeader(String),
    /// No server could be reached before the deadline; nothing was sent.
    #[error("no server could be reached: {0}; are the servers running, and is the address right?")]
    Unreachable(String),
    /// The mutation may have been applied, or may be later. Read the key to find out.
    #[error("outcome unknown: the request may have been applied, or may be later ({0})")]
    OutcomeUnknown(String),
    /// The mutation was applied, once, and its answer is no longer kept.
    #[error("applied as revision {revision}; the answer is no longer kept")]
    AlreadyApplied {
        /// The revision that the mutation made.
        revision: Revision,
    },
    /// A read found no answer before its deadline.
    #[error("no answer before the deadline ({0})")]
    Deadline(String),
}
