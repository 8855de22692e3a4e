//! The runtime of those targets that wait.

use tokio::runtime::{Builder, Runtime};

/// Makes the runtime of a round on files.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
