//! The directory itself: it can be made again, and it can be closed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use skv_disk::{Disk, DiskFile};

/// A directory in which nothing is made, renamed or removed once it is closed: then somebody else may have
/// it under its name.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    /// True once it is closed. Held as long as somebody changes names in it.
    closed: Mutex<bool>,
    closing: AtomicBool,
}

impl Place {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Place { disk, path, closed: Mutex::new(false), closing: AtomicBool::new(false) }
    }

    /// Closes it, once nobody changes it. Blocks as long as the disk does.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        *self.closed.lock() = true;
    }

    /// Returns true if somebody closes it, or has closed it.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Changes names in it, unless it is closed. Blocks.
    pub(super) fn change<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let closed = self.closed.lock();
        if *closed {
            return Err(io::Error::other("the replica has stopped"));
        }
        act()
    }

    /// Makes a new file. Blocks.
    pub(super) fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.change(|| {
            self.make_again()?;
            skv_disk::create(&*self.disk, path)
        })
    }

    /// Makes the directory if it is missing: nothing that the replica needs now is lost with it. Blocks.
    pub(super) fn make_again(&self) -> io::Result<()> {
        if self.disk.exists(&self.path)? {
            return Ok(());
        }
        self.disk.create_dir_all(&self.path)?;
        self.path.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent))
    }
}
