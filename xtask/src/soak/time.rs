//! The time that a soak has, and Ctrl-C.

use std::time::Duration;

use tokio::time::Instant;

use crate::interrupts::Interrupts;

/// The end of a soak: at a moment, or when the user interrupts it.
#[derive(Debug, Clone)]
pub(super) struct Time {
    end: Instant,
    interrupts: Interrupts,
}

impl Time {
    /// Begins now; from here on Ctrl-C ends only the soak.
    pub(super) fn begin(lasts: Duration) -> anyhow::Result<Time> {
        Ok(Time { interrupts: Interrupts::listen()?, end: Instant::now() + lasts })
    }

    /// Returns the time of one of several parts that are still to come.
    pub(super) fn part(&self, parts: u32) -> Time {
        Time { end: Instant::now() + self.left() / parts, interrupts: self.interrupts.clone() }
    }

    /// Returns the time that is left.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_interrupted() || self.left().is_zero()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupts.is_interrupted()
    }

    pub(super) fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
