//! A call, and the time from its start to its answer.

use crate::model::Call;

/// A call and its interval. `returned` is `None` for a write that may take effect at any later
/// time.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) call: Call,
    pub(crate) called: u64,
    pub(crate) returned: Option<u64>,
}
