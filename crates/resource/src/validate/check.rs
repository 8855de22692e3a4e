//! The problems of a specification, as they are found.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

/// A field whose value is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `spec.replicas`.
    pub path: String,
    /// The reason why it is invalid, and the remedy.
    pub reason: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// The problems that were found so far.
#[derive(Default)]
pub(super) struct Check {
    pub(super) problems: Vec<Problem>,
}

impl Check {
    pub(super) fn fails(&mut self, path: &str, reason: String) {
        self.problems.push(Problem { path: path.to_owned(), reason });
    }

    pub(super) fn range<T: Copy + PartialOrd + Display>(
        &mut self,
        path: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            self.fails(path, format!("{value} is out of range: {} to {}", range.start(), range.end()));
        }
    }
}
