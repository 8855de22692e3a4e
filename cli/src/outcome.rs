//! The outcomes of commands, and their exit codes.

use std::process::ExitCode;

/// The outcome of a command that was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done as asked.
    Done,
    /// Part of it failed, and the reason was printed.
    Failed,
    /// There is no such key.
    NoSuchKey,
    /// The key has another revision than demanded.
    ConditionFailed,
    /// Nothing was done, since too little is known for now, and the reason was printed.
    NotYet,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::FAILURE,
            Outcome::NoSuchKey => ExitCode::from(2),
            Outcome::ConditionFailed => ExitCode::from(3),
            Outcome::NotYet => ExitCode::from(4),
        }
    }
}
