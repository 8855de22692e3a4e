//! The record in a file of a directory that one process holds at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use skv_assignment::record::Record;

use super::format::{self, Problem};
use super::map_store::{MapStore, StoreError, Version};

const RECORD_FILE: &str = "shard-map";
const TEMPORARY_FILE: &str = "shard-map.new";
const LOCK_FILE: &str = "LOCK";

/// The reason for which the directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error(
        "another process holds {lock}: is a shard manager running on this directory already? Stop it first"
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
    },
    /// The directory or its lock can't be made or opened.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The path that it concerned.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A store in a directory. The directory stays locked until this is dropped.
#[derive(Debug)]
pub struct FileStore {
    directory: Arc<Directory>,
    /// True if the calling thread does the work itself.
    inline: bool,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// The directory's lock; it also makes reading and swapping one step.
    lock: Mutex<File>,
}

impl FileStore {
    /// Makes the directory if need be, and locks it.
    pub fn open(path: &Path) -> Result<FileStore, OpenError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        let mut directories = DirBuilder::new();
        directories.recursive(true).mode(0o700).create(path).map_err(io("make directory", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = private().create(true).truncate(false).open(&lock_path).map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {
                let directory = Directory { path: path.to_owned(), lock: Mutex::new(lock) };
                Ok(FileStore { directory: Arc::new(directory), inline: false })
            }
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { lock: lock_path }),
            Err(TryLockError::Error(source)) => Err(io("lock", &lock_path)(source)),
        }
    }

    /// Has the calling thread do the work, for a process that is to have one thread: while the disk works,
    /// nothing else runs.
    #[must_use]
    pub fn on_one_thread(self) -> FileStore {
        FileStore { inline: true, ..self }
    }

    /// Does work that blocks on the disk, by default apart from the threads that serve requests.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.inline {
            return work(&self.directory);
        }
        let directory = Arc::clone(&self.directory);
        match tokio::task::spawn_blocking(move || work(&directory)).await {
            Ok(result) => result,
            Err(error) => {
                let (file, source) = (self.directory.path.clone(), io::Error::other(error));
                Err(StoreError::Io { action: "work on", file, source })
            }
        }
    }
}

impl Directory {
    fn read(&self) -> Result<Option<(Record, Version)>, StoreError> {
        self.bytes()?.map(|bytes| self.decode(&bytes)).transpose()
    }

    fn bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let file = self.path.join(RECORD_FILE);
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { action: "read", file, source }),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Record, Version), StoreError> {
        let file = self.path.join(RECORD_FILE);
        let record = format::decode(bytes).map_err(|problem| match problem {
            Problem::Damaged(reason) => StoreError::Damaged { place: file.display().to_string(), reason },
            Problem::UnsupportedVersion(found) => StoreError::UnsupportedVersion {
                place: file.display().to_string(),
                found,
                supported: format::VERSION,
            },
        })?;
        let version = version_of(&record, bytes);
        Ok((record, version))
    }

    /// Returns true if this is the state of the record. Bytes that were read or written before are known by their
    /// checksum, and needn't be decoded again for each shard that arrives.
    fn is_at(&self, expected: Option<&Version>) -> Result<bool, StoreError> {
        let Some(bytes) = self.bytes()? else { return Ok(expected.is_none()) };
        if expected.is_some_and(|version| version.0.ends_with(&checksum(&bytes))) {
            return Ok(true);
        }
        let (_, version) = self.decode(&bytes)?;
        Ok(expected == Some(&version))
    }

    fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Version, StoreError> {
        let _one_at_a_time = self.lock.lock();
        if !self.is_at(expected)? {
            return Err(StoreError::Conflict);
        }
        let (temporary, file) = (self.path.join(TEMPORARY_FILE), self.path.join(RECORD_FILE));
        let io = |action, file: &Path| {
            let file = file.to_owned();
            move |source| StoreError::Io { action, file, source }
        };
        let bytes = format::encode(record).map_err(io::Error::from).map_err(io("encode", &file))?;
        let mut new =
            private().create(true).truncate(true).open(&temporary).map_err(io("create", &temporary))?;
        new.write_all(&bytes).map_err(io("write", &temporary))?;
        new.sync_all().map_err(io("sync", &temporary))?;
        fs::rename(&temporary, &file).map_err(io("rename into place", &temporary))?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io("sync directory", &self.path))?;
        Ok(version_of(record, &bytes))
    }
}

/// Returns the options of a file that only its owner reads and writes.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Returns the version of a record's bytes. Equal content is the same state, so the content can name it.
fn version_of(record: &Record, bytes: &[u8]) -> Version {
    Version(format!("{}{}", record.revision, checksum(bytes)))
}

fn checksum(bytes: &[u8]) -> String {
    format!("-{:08x}", crc32c::crc32c(bytes))
}

impl MapStore for FileStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        Box::pin(self.work(Directory::read))
    }

    fn compare_and_swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let (expected, record) = (expected.cloned(), record.clone());
        Box::pin(self.work(move |directory| directory.swap(expected.as_ref(), &record)))
    }
}

#[cfg(test)]
mod tests {
    use skv_sharding::MapRevision;

    use super::*;
    use crate::testing::sample_record;

    fn revision(n: u64) -> Record {
        Record { revision: MapRevision(n), ..sample_record() }
    }

    #[tokio::test]
    async fn a_record_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        assert!(store.load().await.unwrap().is_none());
        let first = store.compare_and_swap(None, &revision(1)).await.unwrap();
        let second = store.compare_and_swap(Some(&first), &revision(2)).await.unwrap();
        drop(store);
        let store = FileStore::open(dir.path()).unwrap().on_one_thread();
        assert_eq!(store.load().await.unwrap(), Some((revision(2), second.clone())));
        let third = store.compare_and_swap(Some(&second), &revision(3)).await.unwrap();
        assert_eq!(store.load().await.unwrap(), Some((revision(3), third)));
    }

    #[tokio::test]
    async fn only_the_owner_reads_the_record() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("manager");
        let store = FileStore::open(&dir).unwrap();
        store.compare_and_swap(None, &revision(1)).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [mode(&dir), mode(&dir.join(RECORD_FILE)), mode(&dir.join(LOCK_FILE))],
            [0o700, 0o600, 0o600]
        );
    }

    #[tokio::test]
    async fn only_who_knows_the_newest_record_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let first = store.compare_and_swap(None, &revision(1)).await.unwrap();
        store.compare_and_swap(Some(&first), &revision(2)).await.unwrap();
        for stale in [None, Some(&first)] {
            let refused = store.compare_and_swap(stale, &revision(3)).await;
            assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        }
        assert_eq!(store.load().await.unwrap().unwrap().0, revision(2));
    }

    #[tokio::test]
    async fn a_record_that_was_lost_or_put_back_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(RECORD_FILE);
        let store = FileStore::open(dir.path()).unwrap();
        let first = store.compare_and_swap(None, &revision(1)).await.unwrap();
        let old = fs::read(&file).unwrap();
        let second = store.compare_and_swap(Some(&first), &revision(2)).await.unwrap();

        fs::write(&file, old).unwrap();
        assert!(matches!(
            store.compare_and_swap(Some(&second), &revision(3)).await,
            Err(StoreError::Conflict)
        ));
        fs::remove_file(&file).unwrap();
        assert!(matches!(
            store.compare_and_swap(Some(&second), &revision(3)).await,
            Err(StoreError::Conflict)
        ));
        assert!(store.load().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_was_damaged_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(RECORD_FILE);
        let store = FileStore::open(dir.path()).unwrap();
        let first = store.compare_and_swap(None, &revision(1)).await.unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[100] ^= 1;
        fs::write(&file, &bytes).unwrap();
        for expected in [None, Some(&first)] {
            let refused = store.compare_and_swap(expected, &revision(2)).await;
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
        }
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_the_old_record() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let first = store.compare_and_swap(None, &revision(1)).await.unwrap();
        // A directory in the way: the temporary file can't be made.
        fs::create_dir(dir.path().join(TEMPORARY_FILE)).unwrap();
        let error = store.compare_and_swap(Some(&first), &revision(2)).await.unwrap_err();
        assert!(error.to_string().contains(TEMPORARY_FILE), "{error}");
        assert_eq!(store.load().await.unwrap(), Some((revision(1), first)));
    }

    #[tokio::test]
    async fn a_half_written_temporary_file_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TEMPORARY_FILE), "half a rec").unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        assert!(store.load().await.unwrap().is_none());
        store.compare_and_swap(None, &revision(1)).await.unwrap();
        assert_eq!(store.load().await.unwrap().unwrap().0, revision(1));
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused_by_name_and_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(RECORD_FILE);
        let store = FileStore::open(dir.path()).unwrap();
        store.compare_and_swap(None, &revision(1)).await.unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[100] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = store.load().await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }));
        assert!(error.to_string().contains(file.to_str().unwrap()) && error.to_string().contains("checksum"));
    }

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let second = FileStore::open(dir.path()).unwrap_err();
        assert!(second.to_string().contains("another process holds"), "{second}");
        drop(store);
        FileStore::open(dir.path()).unwrap();
    }
}
