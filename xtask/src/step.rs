//! Steps of a chore that takes long, each with the seconds that it took.

use std::fmt::Display;
use std::time::Instant;

/// Runs a step, and prints how long it took, also when it fails.
#[expect(clippy::disallowed_methods, reason = "nothing here is simulated")]
pub(crate) fn step<T>(name: impl Display, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    let outcome = run();
    let end = if outcome.is_ok() { "done" } else { "failed" };
    eprintln!("== {name}: {end} after {} s", began.elapsed().as_secs());
    outcome
}
