//! The lock of a server's data directory: two servers would destroy it, and one whose directory was
//! removed would acknowledge what nobody finds again.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use skv_disk::RealDisk;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A directory that this process keeps until this is dropped.
#[derive(Debug)]
pub struct DataLock(Arc<Held>);

/// The file that is locked, and the path at which it was.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
}

impl DataLock {
    /// Makes the directory if need be, and takes it.
    pub fn take(data_dir: &Path) -> anyhow::Result<DataLock> {
        let mut directories = DirBuilder::new();
        let made = directories.recursive(true).mode(0o700).create(data_dir);
        made.with_context(|| format!("making {}", data_dir.display()))?;
        let path = data_dir.join("lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(DataLock(Arc::new(Held { path, file }))),
            Err(TryLockError::WouldBlock) => {
                bail!("{} is in use by another server; stop that one first", data_dir.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Waits until the directory isn't at its path any more, and returns that as an error.
    pub async fn until_gone(&self) -> anyhow::Error {
        loop {
            let held = Arc::clone(&self.0);
            // A disk may take any time for it, and the server goes on and may be stopped meanwhile.
            let look = async move { held.is_here() };
            if let Ok(false) = skv_disk::run(&RealDisk::default(), "data-lock", look).await {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::anyhow!(
            "the data directory was moved or deleted ({} isn't the file that this server has locked): what it \
             acknowledged from now on would be lost",
            self.0.path.display()
        )
    }
}

impl Held {
    /// Returns true if the path leads to the file that is locked, as far as can be seen: a disk that can't be
    /// read for a while says nothing.
    fn is_here(&self) -> bool {
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(found), Ok(held)) => (found.dev(), found.ino()) == (held.dev(), held.ino()),
            (Err(error), _) => error.kind() != std::io::ErrorKind::NotFound,
            (_, Err(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time_has_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let lock = DataLock::take(&dir).unwrap();
        let message = DataLock::take(&dir).unwrap_err().to_string();
        assert!(message.contains("is in use by another server"), "{message}");
        drop(lock);
        DataLock::take(&dir).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_is_removed_or_replaced_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let lock = DataLock::take(&dir).unwrap();
        assert!(lock.0.is_here());
        fs::remove_dir_all(&dir).unwrap();
        let message = lock.until_gone().await.to_string();
        assert!(message.contains("was moved or deleted"), "{message}");
        let other = DataLock::take(&dir).unwrap();
        assert_eq!((lock.0.is_here(), other.0.is_here()), (false, true));
    }
}
