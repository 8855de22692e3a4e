//! Ctrl-C and SIGTERM. A chore whose children are in process groups of their own is the only one that hears of
//! them: it ends its children, and then itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// Notes that the user wants to end the chore.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    /// Begins now; from here on the signals only leave a note.
    pub(crate) fn listen() -> anyhow::Result<Interrupts> {
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
        Ok(Interrupts(interrupted))
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
