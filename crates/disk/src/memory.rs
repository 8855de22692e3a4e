//! A disk in memory, for replicas without one, for tests and for simulations.
//!
//! It keeps apart what was synced and what wasn't: names per directory, bytes per sector
//! of 512. [`MemoryDisk::crash`] takes the power away and gives back what a real disk
//! might hold then.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use crate::{Disk, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A tree of files in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    state: Arc<State>,
}

/// What files need to know of their disk.
#[derive(Debug, Default)]
struct State {
    used: AtomicU64,
    off: AtomicBool,
    faults: Mutex<Faults>,
}

#[derive(Debug, Clone, Default)]
struct Faults {
    capacity: Option<u64>,
    sync_error: Option<io::ErrorKind>,
    open_error: Option<Errno>,
    sync_delay: Duration,
    /// The same for the files of directories of this name.
    sync_delay_in: Option<(&'static str, Duration)>,
    sync_gate: Option<Arc<Semaphore>>,
}

impl MemoryDisk {
    /// An empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the bytes of all files; growing beyond fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.faults.lock().capacity = bytes;
    }

    /// The bytes of all files.
    pub fn used(&self) -> u64 {
        self.state.used.load(Ordering::Relaxed)
    }

    /// Makes every sync fail with this error, or work again.
    pub fn set_sync_error(&self, error: Option<io::ErrorKind>) {
        self.state.faults.lock().sync_error = error;
    }

    /// Makes every attempt to make or open a file fail with this error, or work again. Those that are
    /// open stay so.
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

    /// Lets so many of the syncs go on that wait, or will.
    pub fn let_sync(&self, count: usize) {
        if let Some(gate) = &self.state.faults.lock().sync_gate {
            gate.add_permits(count);
        }
    }

    /// Ends the process that uses the disk: every later operation on this one fails.
    /// Returns the disk as the next process finds it: with all that was written, synced
    /// or not, and unsynced still.
    #[must_use]
    pub fn kill(&self) -> MemoryDisk {
        let state = self.switch_off();
        let tree = self.tree.lock().after_kill(&state);
        MemoryDisk { tree: Arc::new(Mutex::new(tree)), state }
    }

    /// Takes the power away: every later operation on this disk fails. Returns the disk as
    /// it is found afterwards. What was synced is there; of everything else, each sector
    /// and each name, `survives` decides.
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

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.off.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk has no power"));
        }
        Ok(())
    }

    fn check_sync(&self) -> io::Result<()> {
        self.check_power()?;
        self.faults.lock().sync_error.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn check_open(&self) -> io::Result<()> {
        self.check_power()?;
        self.faults.lock().open_error.map_or(Ok(()), |error| Err(error.into()))
    }

    fn grow(&self, by: u64) -> io::Result<()> {
        let capacity = self.faults.lock().capacity.unwrap_or(u64::MAX);
        let fits = |used: u64| used.checked_add(by).filter(|&sum| sum <= capacity);
        let grown = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        grown.map(|_| ()).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

/// All directories; the first is the root.
#[derive(Debug)]
struct Tree {
    directories: Vec<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    names: BTreeMap<OsString, Node>,
    synced: BTreeMap<OsString, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    File(Arc<MemoryFile>),
    Directory(usize),
}

impl Default for Tree {
    fn default() -> Self {
        Tree { directories: vec![Directory::default()] }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} doesn't exist", path.display()))
}

fn names_of(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

impl Tree {
    fn directory(&self, path: &Path) -> io::Result<usize> {
        names_of(path).try_fold(0, |at, name| match self.directories[at].names.get(name) {
            Some(Node::Directory(next)) => Ok(*next),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_found(path)),
        })
    }

    /// The directory that holds a name, and the name in it.
    fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&mut Directory, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        Ok((&mut self.directories[parent], name))
    }

    fn node(&mut self, path: &Path) -> io::Result<Option<Node>> {
        match self.place(path) {
            Ok((directory, name)) => Ok(directory.names.get(name).cloned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what hangs in directories that no name leads to, now or after a crash.
    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([0]);
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let Directory { names, synced } = &self.directories[at];
            for node in names.values().chain(synced.values()) {
                if let Node::Directory(next) = node
                    && reached.insert(*next)
                {
                    waiting.push(*next);
                }
            }
        }
        for (at, directory) in self.directories.iter_mut().enumerate() {
            if !reached.contains(&at) {
                *directory = Directory::default();
            }
        }
    }

    fn after_kill(&self, state: &Arc<State>) -> Tree {
        let mut files: BTreeMap<*const MemoryFile, Arc<MemoryFile>> = BTreeMap::new();
        let mut copy = |names: &BTreeMap<OsString, Node>| {
            let copy = |(name, node): (&OsString, &Node)| {
                let node = match node {
                    Node::Directory(at) => Node::Directory(*at),
                    Node::File(file) => {
                        let copy = || Arc::new(file.after_kill(state));
                        Node::File(files.entry(Arc::as_ptr(file)).or_insert_with(copy).clone())
                    }
                };
                (name.clone(), node)
            };
            names.iter().map(copy).collect()
        };
        let copy = |d: &Directory| Directory { names: copy(&d.names), synced: copy(&d.synced) };
        Tree { directories: self.directories.iter().map(copy).collect() }
    }

    fn after_crash(&self, survives: &mut impl FnMut() -> bool, state: &Arc<State>) -> Tree {
        let mut tree = Tree { directories: Vec::new() };
        tree.directories.resize_with(self.directories.len(), Directory::default);
        let mut files: BTreeMap<*const MemoryFile, Arc<MemoryFile>> = BTreeMap::new();
        let mut reached = BTreeSet::from([0]);
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let Directory { names, synced } = &self.directories[at];
            let all: BTreeSet<&OsString> = names.keys().chain(synced.keys()).collect();
            for name in all {
                let (now, before) = (names.get(name), synced.get(name));
                let kept = if same(now, before) || survives() { now } else { before };
                let Some(kept) = kept else { continue };
                let node = match kept {
                    Node::Directory(next) => {
                        // A moved directory whose two names both survived keeps one of them.
                        if !reached.insert(*next) {
                            continue;
                        }
                        waiting.push(*next);
                        Node::Directory(*next)
                    }
                    Node::File(file) => {
                        let copy = || Arc::new(file.after_crash(survives, state));
                        Node::File(files.entry(Arc::as_ptr(file)).or_insert_with(copy).clone())
                    }
                };
                let directory = &mut tree.directories[at];
                directory.names.insert(name.clone(), node.clone());
                directory.synced.insert(name.clone(), node);
            }
        }
        tree
    }
}

fn same(a: Option<&Node>, b: Option<&Node>) -> bool {
    match (a, b) {
        (Some(Node::File(a)), Some(Node::File(b))) => Arc::ptr_eq(a, b),
        (Some(Node::Directory(a)), Some(Node::Directory(b))) => a == b,
        (a, b) => a.is_none() && b.is_none(),
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
        // As on a real disk, where the directory has to be opened.
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

#[derive(Debug)]
struct MemoryFile {
    content: Mutex<Content>,
    /// The name of the directory that it was made in.
    place: OsString,
    state: Arc<State>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced_len: usize,
    /// What the synced sectors held that were written since.
    before: BTreeMap<usize, Box<[u8]>>,
}

impl MemoryFile {
    fn after_kill(&self, state: &Arc<State>) -> MemoryFile {
        let content = self.content.lock().clone();
        state.used.fetch_add(content.bytes.len() as u64, Ordering::Relaxed);
        MemoryFile { content: Mutex::new(content), place: self.place.clone(), state: state.clone() }
    }

    fn after_crash(&self, survives: &mut impl FnMut() -> bool, state: &Arc<State>) -> MemoryFile {
        let content = self.content.lock();
        let mut bytes = content.bytes.clone();
        for (sector, before) in &content.before {
            if !survives() {
                let start = sector * SECTOR;
                bytes[start..start + before.len()].copy_from_slice(before);
            }
        }
        let mut len = content.synced_len;
        let mut at = content.synced_len;
        while at < bytes.len() {
            let end = (at / SECTOR + 1).saturating_mul(SECTOR).min(bytes.len());
            if survives() {
                len = end;
            } else {
                bytes[at..end].fill(0);
            }
            at = end;
        }
        bytes.truncate(len);
        state.used.fetch_add(len as u64, Ordering::Relaxed);
        let content = Content { bytes, synced_len: len, before: BTreeMap::new() };
        MemoryFile { content: Mutex::new(content), place: self.place.clone(), state: state.clone() }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.state.used.fetch_sub(self.content.get_mut().bytes.len() as u64, Ordering::Relaxed);
    }
}

impl DiskFile for MemoryFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.state.check_power()?;
        let content = self.content.lock();
        let start = offset as usize;
        let bytes = content.bytes.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.check_power()?;
        let content = &mut *self.content.lock();
        let start = offset as usize;
        let end = start + bytes.len();
        let len = content.bytes.len();
        if end > len {
            self.state.grow((end - len) as u64)?;
            content.bytes.resize(end, 0);
        }
        let synced = content.synced_len;
        let mut sector = start / SECTOR;
        while sector * SECTOR < end.min(synced) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(synced);
            content.before.entry(sector).or_insert_with(|| content.bytes[range].into());
            sector += 1;
        }
        content.bytes[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.state.check_power()?;
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let Faults { sync_delay, sync_delay_in, sync_gate, .. } = self.state.faults.lock().clone();
            let here = sync_delay_in.filter(|(directory, _)| self.place == *directory);
            let delay = here.map_or(sync_delay, |(_, delay)| delay);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(gate) = sync_gate {
                gate.acquire().await.map_err(io::Error::other)?.forget();
            }
            self.state.check_sync()?;
            let content = &mut *self.content.lock();
            content.before.clear();
            content.synced_len = content.bytes.len();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(Path::new(path)).ok()?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    fn write(disk: &MemoryDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.create(Path::new(path)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[tokio::test]
    async fn a_crash_leaves_what_was_synced() {
        let disk = MemoryDisk::new();
        let file = write(&disk, "/a", &[1; 1200]);
        file.sync().await.unwrap();
        file.write_all_at(&[2; 600], 500).unwrap();
        file.write_all_at(&[2; 600], 1100).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        write(&disk, "/b", &[3]).sync().await.unwrap();

        let after = disk.crash(|| false);
        assert_eq!(contents(&after, "/a"), Some(vec![1; 1200]));
        assert_eq!(contents(&after, "/b"), None, "its name wasn't synced");
        assert_eq!(after.used(), 1200);
        assert!(file.write_all_at(&[0], 0).is_err(), "the old disk has no power");
        assert!(disk.list(Path::new("/")).is_err());
    }

    #[tokio::test]
    async fn what_a_killed_process_did_not_sync_is_seen_and_not_durable() {
        let disk = MemoryDisk::new();
        let file = write(&disk, "/a", b"a");
        file.sync().await.unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_all_at(b"b", 0).unwrap();
        write(&disk, "/c", b"c");

        let next = disk.kill();
        assert!(file.write_all_at(b"x", 0).is_err());
        assert_eq!(
            (contents(&next, "/a"), contents(&next, "/c")),
            (Some(b"b".to_vec()), Some(b"c".to_vec()))
        );
        assert_eq!(next.used(), 2);
        let after = next.crash(|| false);
        assert_eq!((contents(&after, "/a"), contents(&after, "/c")), (Some(b"a".to_vec()), None));
    }

    #[tokio::test]
    async fn a_crash_may_leave_any_sector_and_name_that_was_not_synced() {
        let disk = MemoryDisk::new();
        let file = write(&disk, "/a", &[1; 1024]);
        file.sync().await.unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_all_at(&[2; 2048], 0).unwrap();

        let mut odd = false;
        let after = disk.crash(|| {
            odd = !odd;
            odd
        });
        let expected = [vec![2; 512], vec![1; 512], vec![2; 512]].concat();
        assert_eq!(contents(&after, "/a"), Some(expected));
    }

    #[tokio::test]
    async fn a_renamed_directory_takes_its_files_along() {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/x.tmp/y")).unwrap();
        write(&disk, "/x.tmp/y/f", b"f").sync().await.unwrap();
        disk.sync_dir(Path::new("/x.tmp/y")).unwrap();
        disk.sync_dir(Path::new("/x.tmp")).unwrap();
        disk.rename(Path::new("/x.tmp"), Path::new("/x")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();

        let after = disk.crash(|| false);
        assert_eq!(contents(&after, "/x/y/f"), Some(b"f".to_vec()));
        assert!(!after.exists(Path::new("/x.tmp")).unwrap());
    }

    #[tokio::test]
    async fn a_removed_file_is_back_after_a_crash_until_its_directory_is_synced() {
        let disk = MemoryDisk::new();
        write(&disk, "/a", b"a").sync().await.unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.remove(Path::new("/a")).unwrap();
        let disk = disk.crash(|| false);
        assert_eq!(contents(&disk, "/a"), Some(b"a".to_vec()));
        disk.remove(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(disk.used(), 0);
        assert_eq!(contents(&disk.crash(|| false), "/a"), None);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_to_grow_and_takes_what_does_not_grow() {
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(10));
        let file = write(&disk, "/a", &[1; 10]);
        let refused = file.write_all_at(&[2; 2], 9).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        file.write_all_at(&[3; 10], 0).unwrap();
        assert_eq!(contents(&disk, "/a"), Some(vec![3; 10]));

        disk.remove(Path::new("/a")).unwrap();
        assert!(disk.create(Path::new("/b")).unwrap().write_all_at(&[1], 0).is_err(), "still open");
        drop(file);
        write(&disk, "/c", &[1; 10]);
    }

    #[tokio::test]
    async fn a_removed_directory_frees_its_files() {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/x/y")).unwrap();
        write(&disk, "/x/y/f", b"f");
        disk.remove_dir_all(Path::new("/x")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(disk.used(), 0);
        disk.remove_dir_all(Path::new("/x")).unwrap();
    }

    #[tokio::test]
    async fn a_failing_sync_makes_nothing_durable() {
        let disk = MemoryDisk::new();
        let file = write(&disk, "/a", b"a");
        disk.sync_dir(Path::new("/")).unwrap();
        disk.set_sync_error(Some(io::ErrorKind::Other));
        assert!(file.sync().await.is_err());
        assert!(disk.sync_dir(Path::new("/")).is_err());
        assert_eq!(contents(&disk.crash(|| false), "/a"), Some(vec![]));
    }
}
