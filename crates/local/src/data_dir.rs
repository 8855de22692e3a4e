//! A store's data directory: one `skv up` at a time uses it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::{Member, Record};

const RECORD: &str = "cluster.json";
const LOCK: &str = "lock";
const MANAGER: &str = "manager";

/// A data directory that no other process uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<DataDir> {
        fs::create_dir_all(path.join("logs"))
            .with_context(|| format!("can't make the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("can't find {}", path.display()))?;
        let lock = lock_file(&path, LOCK)?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let by = read_record(&path).ok().flatten().and_then(|record| record.supervisor);
                let by = by.map_or(String::new(), |process| format!(" by process {}", process.pid));
                bail!(
                    "{} is in use{by}: stop it with `skv down --data-dir {0}`, or name another directory",
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("can't lock {}", path.display()))
            }
        }
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the record of the directory; `None` if it is new.
    pub fn load(&self) -> anyhow::Result<Option<Record>> {
        read_record(&self.path)
    }

    /// Replaces the record of the directory, in one step.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        replace(&self.path, RECORD, record)
    }

    /// Removes a member's data.
    pub fn forget(&self, member: &Member) -> anyhow::Result<()> {
        let data = member_dir(&self.path, member);
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("can't remove {}", data.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the record of a directory, without locking it.
pub fn read_record(path: &Path) -> anyhow::Result<Option<Record>> {
    read(path, RECORD, "it only holds ports, and which groups there are")
}

/// Reads a file of a data directory; `None` if there is none.
pub fn read<T: DeserializeOwned>(path: &Path, name: &str, holds: &str) -> anyhow::Result<Option<T>> {
    let file = path.join(name);
    match fs::read(&file) {
        Ok(bytes) => {
            let content = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; {holds}: remove it", file.display()))?;
            Ok(Some(content))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", file.display())),
    }
}

/// Replaces a file of a data directory in one step.
pub fn replace(path: &Path, name: &str, content: &impl Serialize) -> anyhow::Result<()> {
    let file = path.join(name);
    let write = || -> io::Result<()> {
        let new = file.with_extension("new");
        let mut out = File::create(&new)?;
        out.write_all(&serde_json::to_vec_pretty(content)?)?;
        out.sync_all()?;
        fs::rename(&new, &file)?;
        File::open(path)?.sync_all()
    };
    write().with_context(|| format!("can't write {}", file.display()))
}

/// Returns true if a process uses the directory.
pub fn is_locked(path: &Path) -> anyhow::Result<bool> {
    Ok(matches!(lock_file(path, LOCK)?.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Returns the directory where a member keeps its data.
pub fn member_dir(path: &Path, member: &Member) -> PathBuf {
    if member.is_manager() { path.join(MANAGER) } else { path.join(&member.name) }
}

/// Returns the file to which a process writes its log.
pub fn log_file(path: &Path, name: &str) -> PathBuf {
    path.join("logs").join(format!("{name}.log"))
}

/// Opens a file that is only there to be locked.
pub fn lock_file(path: &Path, name: &str) -> anyhow::Result<File> {
    let lock = path.join(name);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock)
        .with_context(|| format!("can't open {}", lock.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_and_free_again_afterwards() {
        let temporary = tempfile::tempdir().unwrap();
        let first = DataDir::open(temporary.path()).unwrap();
        let message = DataDir::open(temporary.path()).unwrap_err().to_string();
        assert!(message.contains("is in use"), "{message}");
        assert!(is_locked(temporary.path()).unwrap());
        drop(first);
        DataDir::open(temporary.path()).unwrap();
    }

    #[test]
    fn a_damaged_record_says_what_to_do() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        assert_eq!(dir.load().unwrap(), None);
        fs::write(temporary.path().join(RECORD), "{").unwrap();
        let message = dir.load().unwrap_err().to_string();
        assert!(message.contains("cluster.json is damaged"), "{message}");
    }
}
