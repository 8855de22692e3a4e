//! Waiting for something that is about to happen.

use std::time::Duration;

use anyhow::bail;

use super::plan::Plan;

const POLL: Duration = Duration::from_millis(200);
/// The number of polls, far more than any step takes.
const POLLS: u32 = 600;

/// Repeats the check until it is true.
pub(super) fn until(plan: &Plan, what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    for _ in 0..POLLS {
        if is_so() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    bail!("it never came to this: {what}; the logs are in {}", plan.processes().display())
}
