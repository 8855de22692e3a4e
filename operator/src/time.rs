//! The clock by which conditions are dated.

use k8s_openapi::jiff::Timestamp;

/// Returns the time in whole seconds, which is what the API server keeps.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
