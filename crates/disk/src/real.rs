//! The operating system's files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Disk, DiskFile};

/// The niceness of threads that yield to others. When all processors are busy they have about a tenth
/// of the time of another thread (sched(7)), so that they make progress too.
const NICENESS: i32 = 10;

/// The file system that the process sees.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk {
    tasks: Tasks,
}

/// The right of the owner alone to read and write a file: keys and values stand in it.
const PRIVATE_FILE: u32 = 0o600;
/// The same of a directory.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The place where tasks run that may block on the disk.
#[derive(Debug, Clone, Copy, Default)]
enum Tasks {
    /// Each task runs on a thread of its own.
    #[default]
    Threads,
    /// Tasks run on the runtime of their caller.
    Runtime,
}

impl RealDisk {
    /// Returns a disk for a process with one thread: while the disk works, nothing else does.
    pub fn on_one_thread() -> Self {
        RealDisk { tasks: Tasks::Runtime }
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(PRIVATE_FILE).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        if let Tasks::Runtime = self.tasks {
            tokio::spawn(task);
            return;
        }
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(task),
            Err(error) => tracing::error!(%error, "a disk thread can't run its task"),
        };
        // A task that never ran is dropped: the caller that waits for it finds its channel closed.
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
            tracing::error!(%error, name, "can't start a disk thread");
        }
    }

    fn lower_priority(&self) {
        if let Tasks::Threads = self.tasks {
            // On Linux that is the calling thread, not all of its process.
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!(%error, "a thread keeps its priority");
            }
        }
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|m| m.len())
    }

    /// Calls fdatasync: it also makes the length durable, but no times.
    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { self.0.sync_data() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_made_once_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let (disk, dir) = (RealDisk::default(), root.path().join("a/b"));
        disk.create_dir_all(&dir).unwrap();
        let (old, new) = (dir.join("old"), dir.join("new"));
        let file = disk.create(&old).unwrap();
        assert_eq!(disk.create(&old).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_all_at(b"12345", 3).unwrap();
        file.sync().await.unwrap();
        disk.rename(&old, &new).unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.list(&dir).unwrap(), std::slice::from_ref(&new));

        let file = disk.open(&new).unwrap();
        let mut bytes = [9; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!((file.len().unwrap(), &bytes), (8, b"\0\0\x0012345"));
        assert_eq!(file.read_exact_at(&mut bytes, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        disk.remove(&new).unwrap();
        assert!(!disk.exists(&new).unwrap());
        for _ in 0..2 {
            disk.remove_dir_all(&root.path().join("a")).unwrap();
        }
    }

    #[test]
    fn only_the_owner_reads_what_is_made() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let (disk, dir) = (RealDisk::default(), root.path().join("a/b"));
        disk.create_dir_all(&dir).unwrap();
        let file = dir.join("file");
        disk.create(&file).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&root.path().join("a")), mode(&dir), mode(&file)], [0o700, 0o700, 0o600]);
    }

    #[tokio::test]
    async fn a_task_runs_on_a_thread_of_its_own() {
        let name = async { std::thread::current().name().map(str::to_owned) };
        assert_eq!(
            crate::run(&RealDisk::default(), "a-task", name).await.unwrap().as_deref(),
            Some("a-task")
        );
    }

    #[tokio::test]
    async fn a_task_lowers_no_priority_but_its_own() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let disk = RealDisk::default();
        let task = async move {
            disk.lower_priority();
            priority()
        };
        assert_eq!(crate::run(&disk, "a-task", task).await.unwrap(), (before + NICENESS).min(19));
        assert_eq!(priority(), before);
        let disk = RealDisk::on_one_thread();
        crate::run(&disk, "a-task", async move { disk.lower_priority() }).await.unwrap();
        assert_eq!(priority(), before, "there is no other thread");
    }

    #[tokio::test]
    async fn a_process_of_one_thread_keeps_to_it() {
        let thread = async { std::thread::current().id() };
        let ran_on = crate::run(&RealDisk::on_one_thread(), "a-task", thread).await.unwrap();
        assert_eq!(ran_on, std::thread::current().id());
    }
}
