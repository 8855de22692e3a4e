//! The time that a soak has, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// The end of a soak: at a moment, or when the user interrupts it.
#[derive(Debug, Clone)]
pub(super) struct Time {
    end: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Time {
    /// Begins now; from here on Ctrl-C ends only the soak.
    pub(super) fn begin(lasts: Duration) -> anyhow::Result<Time> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let flag = Arc::clone(&interrupted);
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
                    flag.store(true, Ordering::Relaxed);
                    eprintln!("interrupted: what runs is ended");
                }
            });
        });
        Ok(Time { end: Instant::now() + lasts, interrupted })
    }

    /// Returns the time of one of several parts that are still to come.
    pub(super) fn part(&self, parts: u32) -> Time {
        Time { end: Instant::now() + self.left() / parts, interrupted: Arc::clone(&self.interrupted) }
    }

    /// Returns the time that is left.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_interrupted() || self.left().is_zero()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
