//! The clock by which conditions are dated.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

/// A clock, which tests may set.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Returns the clock of this machine, in whole seconds, which is what the API server keeps.
pub(crate) fn system() -> Clock {
    Arc::new(|| {
        let now = Timestamp::now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    })
}
