//! Commands that go on until Ctrl-C, work that goes on without its command, and pages that are shown again and
//! again in the same place.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::ValueHint;

use crate::duration;
use crate::outcome::Outcome;
use crate::output::Format;

/// The beginning of a page that takes the place of the one before: of an empty screen.
pub(crate) const CLEAR: &str = "\x1b[H\x1b[2J";

/// `--watch`, for the commands that show a page again and again.
#[derive(Debug, clap::Args)]
pub(crate) struct Watching {
    /// Show it again after this time [default: 2s], until Ctrl-C.
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2s", value_parser = duration::positive, value_hint = ValueHint::Other)]
    pub(crate) watch: Option<Duration>,
}

/// Returns true if each page takes the place of the one before.
pub(crate) fn clears(format: Format) -> bool {
    io::stdout().is_terminal() && format == Format::Text
}

/// Works until Ctrl-C, or until the work has ended by itself.
pub(crate) async fn until_ctrl_c(
    work: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<Outcome> {
    tokio::select! {
        ended = work => ended,
        stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| Outcome::Done)?),
    }
}

/// Waits for work that needs nobody who waits. Ctrl-C ends the waiting with an error, which says what goes on.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = T>,
    goes_on: impl FnOnce() -> anyhow::Error,
) -> anyhow::Result<T> {
    tokio::select! {
        // Ctrl-C comes first, so that a user who sees that the work has begun can already stop the waiting.
        biased;
        stopped = tokio::signal::ctrl_c() => {
            stopped?;
            Err(goes_on())
        }
        ended = work => Ok(ended),
    }
}
