//! Waiting for what may take long.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

/// The time limit, far more than is needed.
const NEVER: Duration = Duration::from_hours(1);

/// Repeats the check, with pauses, until it is true.
pub(super) fn until(
    what: &str,
    pause: Duration,
    mut is_so: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_so()? {
        ensure!(began.elapsed() < NEVER, "it never came to this: {what}");
        std::thread::sleep(pause);
    }
    Ok(())
}
