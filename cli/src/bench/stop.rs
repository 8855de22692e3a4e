//! Ctrl-C ends a measurement early; what was measured until then is shown.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The time at which somebody pressed Ctrl-C, once that has happened. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    at: OnceLock<Instant>,
    pressed: Notify,
}

impl Stop {
    /// Waits for Ctrl-C in the background.
    pub(super) fn on_ctrl_c() -> Stop {
        let stop = Stop(Arc::default());
        let shared = Arc::clone(&stop.0);
        tokio::spawn(async move {
            // Where signals can't be received, nobody stops it.
            if tokio::signal::ctrl_c().await.is_ok() {
                shared.at.get_or_init(Instant::now);
                shared.pressed.notify_one();
            }
        });
        stop
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.0.at.get().copied()
    }

    /// Waits until it happens; one at a time may wait.
    pub(super) async fn wait(&self) {
        self.0.pressed.notified().await;
    }
}
