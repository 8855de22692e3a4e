//! The housekeeper's way to its directory, which can be closed: the directory may be renamed, and
//! another replica's log be made under its name, while the housekeeper still waits for the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::RwLock;
use skv_disk::{Disk, DiskFile};

/// A disk on which nothing is made, renamed, removed or synced by its name once it is closed. Files
/// that are open stay so: they follow their directory.
#[derive(Debug)]
pub(super) struct Gate {
    disk: Arc<dyn Disk>,
    closed: RwLock<bool>,
}

impl Gate {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Gate { disk, closed: RwLock::new(false) }
    }

    /// Closes it, once nobody is in it. Blocks as long as the disk does.
    pub(super) fn close(&self) {
        *self.closed.write() = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.read()
    }

    /// Returns the disk behind it.
    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn pass<T>(&self, act: impl FnOnce(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        let closed = self.closed.read();
        if *closed {
            return Err(io::Error::other("the log's directory may belong to another replica"));
        }
        act(&*self.disk)
    }
}

impl Disk for Gate {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.pass(|disk| disk.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.pass(|disk| disk.open(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.pass(|disk| disk.create_dir_all(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.pass(|disk| disk.list(dir))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.pass(|disk| disk.exists(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(|disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(|disk| disk.remove(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.pass(|disk| disk.remove_dir_all(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(|disk| disk.sync_dir(dir))
    }

    fn spawn(&self, name: &str, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.disk.spawn(name, task);
    }

    fn lower_priority(&self) {
        self.disk.lower_priority();
    }
}
