//! The disk, injected: everything that is durable goes through [`Disk`], so that a test
//! can fill it, slow it, break it or take its power away.
//!
//! Reads and writes block the caller. They are made on tasks that were started with
//! [`Disk::spawn`], never on the threads that serve requests.

pub mod checked_file;
pub mod clock;
pub mod entropy;
mod faults;
mod memory;
mod real;

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rustix::io::Errno;
use tokio::sync::oneshot;

pub use faults::FaultyDisk;
pub use memory::MemoryDisk;
pub use real::RealDisk;

/// A directory tree of files that survive a crash as far as they were synced.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a new, empty file that can be read and written; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and its parents; fine if it exists.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Returns the files and directories in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Returns true if there is a file or directory of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file or a directory; a file in the way is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it; fine if it doesn't exist.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Runs a task that may block on this disk: a real one gives it a thread of its own,
    /// a simulated one a task of the simulation. The future ends when the task does.
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>);

    /// Gives the task that calls this, which was spawned here, little of a processor that others want
    /// from now on.
    fn lower_priority(&self);
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file grows if need be.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns the file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Returns true if the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Makes the file's bytes and length durable.
    fn sync(&self) -> BoxFuture<'_, io::Result<()>>;
}

/// Runs a task that may block on the disk with [`Disk::spawn`], and waits for its result.
pub async fn run<T: Send + 'static>(
    disk: &dyn Disk,
    name: &str,
    task: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let task = async move {
        let _ = done.send(task.await);
    };
    disk.spawn(name, Box::pin(task));
    result.await.map_err(|_| io::Error::other(format!("the task {name} ended without a result")))
}

/// Makes a new, empty file. Each error is one that may pass, whatever the disk says: the file doesn't
/// exist yet, so that nothing is lost or uncertain.
pub fn create(disk: &dyn Disk, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    disk.create(path)
        .map_err(|source| io::Error::new(source.kind(), NotCreated { path: path.to_owned(), source }))
}

#[derive(Debug, thiserror::Error)]
#[error("{} can't be made: {source}", path.display())]
struct NotCreated {
    path: PathBuf,
    source: io::Error,
}

/// Returns true if an error says that there is no room: freeing some is all it takes.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns true if an operation that failed may work later, and until then nothing is wrong: there is
/// no room, no more files can be open, or a new file wasn't made. A failed sync never passes.
pub fn may_pass(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(is_passing) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Does some work, again and again with a pause between while it fails in a way that may pass.
pub async fn patiently<T, F>(what: &str, pause: Duration, mut work: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match work().await {
            Err(error) if may_pass(&error) => {
                tracing::warn!(%error, what, "the disk can't be used now; it is tried again");
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    let is_not_created = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<NotCreated>);
    let lacks_files = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error).map(Some);
    is_full(error) || is_not_created || lacks_files.contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that another crate makes of one of the disk's.
    #[derive(Debug, thiserror::Error)]
    #[error("f: {source}")]
    struct Behind {
        source: io::Error,
    }

    #[test]
    fn what_may_pass_is_told_from_what_is_wrong_also_behind_other_errors() {
        let no_more_files = || io::Error::from(Errno::MFILE);
        let behind = |source| Behind { source };
        for passing in [no_more_files(), io::ErrorKind::StorageFull.into(), Errno::NFILE.into()] {
            assert!(may_pass(&passing), "{passing}");
            assert!(may_pass(&io::Error::other(behind(passing))));
        }
        for wrong in [Errno::IO.into(), io::ErrorKind::InvalidData.into(), io::Error::other("a sync failed")]
        {
            assert!(!may_pass(&wrong), "{wrong}");
            assert!(!may_pass(&io::Error::other(behind(wrong))));
        }
    }

    #[test]
    fn a_file_that_was_not_made_is_nothing_wrong_whatever_the_reason() {
        let disk = MemoryDisk::new();
        let error = create(&disk, Path::new("/nowhere/f")).unwrap_err();
        assert!(may_pass(&error) && error.to_string().starts_with("/nowhere/f can't be made"), "{error}");
        assert!(!may_pass(&disk.open(Path::new("/nowhere/f")).unwrap_err()));
    }
}
