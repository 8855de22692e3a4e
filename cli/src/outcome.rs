//! How commands end, and the exit codes of that.

use std::process::ExitCode;

/// How a command ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As asked.
    Done,
    /// Part of it failed; what, has been said.
    Failed,
    /// There is no such key.
    NoSuchKey,
    /// The key has another revision than demanded.
    ConditionFailed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::FAILURE,
            Outcome::NoSuchKey => ExitCode::from(2),
            Outcome::ConditionFailed => ExitCode::from(3),
        }
    }
}
