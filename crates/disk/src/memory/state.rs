//! A disk's power, capacity and faults, which its files depend on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::sync::Semaphore;

/// The state of a disk that its files depend on.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) used: AtomicU64,
    pub(super) off: AtomicBool,
    pub(super) faults: Mutex<Faults>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    pub(super) capacity: Option<u64>,
    pub(super) sync_error: Option<io::ErrorKind>,
    pub(super) open_error: Option<Errno>,
    pub(super) sync_delay: Duration,
    /// The same for the files of directories of this name.
    pub(super) sync_delay_in: Option<(&'static str, Duration)>,
    pub(super) sync_gate: Option<Arc<Semaphore>>,
}

impl State {
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.off.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk has no power"));
        }
        Ok(())
    }

    pub(super) fn check_sync(&self) -> io::Result<()> {
        self.check_power()?;
        self.faults.lock().sync_error.map_or(Ok(()), |kind| Err(kind.into()))
    }

    pub(super) fn check_open(&self) -> io::Result<()> {
        self.check_power()?;
        self.faults.lock().open_error.map_or(Ok(()), |error| Err(error.into()))
    }

    pub(super) fn grow(&self, by: u64) -> io::Result<()> {
        let capacity = self.faults.lock().capacity.unwrap_or(u64::MAX);
        let fits = |used: u64| used.checked_add(by).filter(|&sum| sum <= capacity);
        let grown = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        grown.map(|_| ()).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}
