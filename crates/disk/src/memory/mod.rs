//! A disk in memory, for replicas without one, for tests and for simulations.
//!
//! It separates synced from unsynced state: names per directory, bytes per sector of 512.
//! [`MemoryDisk::crash`] takes the power away and returns a state that a real disk might hold then.

mod file;
mod state;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use self::file::MemoryFile;
use self::state::{Faults, State};
use self::tree::{Directory, Node, Tree, names_of, not_found};
use crate::{Disk, DiskFile};

/// A tree of files in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    state: Arc<State>,
}

impl MemoryDisk {
    /// Makes an empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the bytes of all files; growing beyond fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.faults.lock().capacity = bytes;
    }

    /// Returns the bytes of all files.
    pub fn used(&self) -> u64 {
        self.state.used.load(Ordering::Relaxed)
    }

    /// Makes every sync fail with this error, or work again.
    pub fn set_sync_error(&self, error: Option<io::ErrorKind>) {
        self.state.faults.lock().sync_error = error;
    }

    /// Makes every attempt to make or open a file fail with this error, or work again. Open files
    /// stay open.
    pub fn set_open_error(&self, error: Option<Errno>) {
        self.state.faults.lock().open_error = error;
    }

    /// Makes every sync of a file take this long.
    pub fn set_sync_delay(&self, delay: Duration) {
        self.state.faults.lock().sync_delay = delay;
    }

    /// Makes every sync of a file that was made in a directory of this name take this long.
    pub fn set_sync_delay_in(&self, directory: &'static str, delay: Duration) {
        self.state.faults.lock().sync_delay_in = Some((directory, delay));
    }

    /// Makes every sync of a file wait until [`MemoryDisk::let_sync`] lets it go on.
    pub fn hold_syncs(&self) {
        self.state.faults.lock().sync_gate = Some(Arc::new(Semaphore::new(0)));
    }

    /// Lets this number of syncs continue that wait, or will.
    pub fn let_sync(&self, count: usize) {
        if let Some(gate) = &self.state.faults.lock().sync_gate {
            gate.add_permits(count);
        }
    }

    /// Ends the process that uses the disk: every later operation on this one fails. Returns the
    /// disk as the next process finds it: with everything that was written, synced or not, and
    /// unsynced still.
    #[must_use]
    pub fn kill(&self) -> MemoryDisk {
        let state = self.switch_off();
        let tree = self.tree.lock().after_kill(&state);
        MemoryDisk { tree: Arc::new(Mutex::new(tree)), state }
    }

    /// Takes the power away: every later operation on this disk fails. Returns the disk as it is
    /// found afterwards. Synced state is there; for everything else, each sector and each name,
    /// `survives` decides.
    #[must_use]
    pub fn crash(&self, mut survives: impl FnMut() -> bool) -> MemoryDisk {
        let state = self.switch_off();
        let tree = self.tree.lock().after_crash(&mut survives, &state);
        MemoryDisk { tree: Arc::new(Mutex::new(tree)), state }
    }

    fn switch_off(&self) -> Arc<State> {
        self.state.off.store(true, Ordering::SeqCst);
        let faults = Faults { sync_gate: None, ..self.state.faults.lock().clone() };
        Arc::new(State { faults: Mutex::new(faults), ..State::default() })
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.state.check_open()?;
        let mut tree = self.tree.lock();
        let (directory, name) = tree.place(path)?;
        if directory.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let place = path.parent().and_then(Path::file_name).unwrap_or_default().to_owned();
        let file = Arc::new(MemoryFile { content: Mutex::default(), place, state: self.state.clone() });
        directory.names.insert(name.to_owned(), Node::File(file.clone()));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.state.check_open()?;
        match self.tree.lock().node(path)? {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.check_power()?;
        let tree = &mut *self.tree.lock();
        let mut at = 0;
        for name in names_of(path) {
            let new = tree.directories.len();
            let node = tree.directories[at].names.entry(name.to_owned()).or_insert(Node::Directory(new));
            let Node::Directory(next) = *node else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = next;
            if at == new {
                tree.directories.push(Directory::default());
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.state.check_open()?;
        let tree = self.tree.lock();
        let at = tree.directory(dir)?;
        Ok(tree.directories[at].names.keys().map(|name| dir.join(name)).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.state.check_power()?;
        Ok(names_of(path).next().is_none() || self.tree.lock().node(path)?.is_some())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.check_power()?;
        let mut tree = self.tree.lock();
        let node = tree.node(from)?.ok_or_else(|| not_found(from))?;
        let (directory, name) = tree.place(to)?;
        if let Some(Node::Directory(_)) = directory.names.get(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.names.insert(name.to_owned(), node);
        if from != to {
            let (directory, name) = tree.place(from)?;
            directory.names.remove(name);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.check_power()?;
        let mut tree = self.tree.lock();
        match tree.node(path)? {
            Some(Node::File(_)) => {}
            Some(Node::Directory(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(not_found(path)),
        }
        let (directory, name) = tree.place(path)?;
        directory.names.remove(name);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.check_power()?;
        let mut tree = self.tree.lock();
        match tree.node(path)? {
            None => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Directory(_)) => {
                let (directory, name) = tree.place(path)?;
                directory.names.remove(name);
                Ok(())
            }
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // A real disk fails here too, since the directory has to be opened.
        self.state.check_open()?;
        self.state.check_sync()?;
        let mut tree = self.tree.lock();
        let at = tree.directory(dir)?;
        let directory = &mut tree.directories[at];
        directory.synced.clone_from(&directory.names);
        tree.forget_unreachable();
        Ok(())
    }

    fn spawn(&self, _name: &str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn lower_priority(&self) {}
}
