//! A place where a rule is broken.

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) rule: &'static str,
    pub(super) place: String,
    pub(super) problem: String,
}

impl Finding {
    pub(super) fn new(rule: &'static str, place: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding { rule, place: place.into(), problem: problem.into() }
    }
}
