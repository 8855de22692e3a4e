//! A store's data directory: one `skv up` at a time uses it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::private;
use crate::record::{Member, Record};

const RECORD: &str = "cluster.json";
const LOCK: &str = "lock";
const MANAGER: &str = "manager";
/// A directory that a new file system has, and that is nobody's data.
const OF_THE_FILE_SYSTEM: &str = "lost+found";
/// The number of other people's files that are named.
const NAMED: usize = 3;

/// A data directory that no other process uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

/// The state of a data directory whose processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is at its path.
    Here,
    /// Its files exist, but not at its path.
    Moved,
    /// Its files are deleted: what is written into them is lost.
    Deleted,
}

impl DataDir {
    /// Makes the directory if need be, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<DataDir> {
        must_be_text(&std::path::absolute(path)?)?;
        must_be_a_data_dir(path)?;
        private::create_dir_all(&path.join("logs"))
            .with_context(|| format!("can't make the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("can't find {}", path.display()))?;
        must_be_text(&path)?;
        let lock = lock_file(&path, LOCK)?;
        private::tighten(&path);
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path, lock }),
            Err(TryLockError::WouldBlock) => {
                let by = read_record(&path).ok().flatten().and_then(|record| record.supervisor);
                let by = by.map_or(String::new(), |process| format!(" by process {}", process.pid));
                bail!(
                    "{} is in use{by}: `skv status --data-dir {0}` shows the store, `skv down --data-dir {0}` \
                     stops it; or name another directory",
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

    /// Returns where the directory is. Something may be written to its path only while it is there.
    pub fn presence(&self) -> Presence {
        let Ok(held) = self.lock.metadata() else { return Presence::Deleted };
        let found = fs::metadata(self.path.join(LOCK));
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())) {
            Presence::Here
        } else if held.nlink() == 0 {
            Presence::Deleted
        } else {
            Presence::Moved
        }
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

/// Refuses a path that can't be told to the processes, nor be remembered: they would use another one, whose name
/// has other characters in place of those that aren't UTF-8.
fn must_be_text(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        path.to_str().is_some(),
        "the path {} isn't UTF-8: name a directory whose path is",
        path.display()
    );
    Ok(())
}

/// Refuses a directory that has files and was never a store's: `skv` would lose its own among them.
fn must_be_a_data_dir(path: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    if path.join(LOCK).exists() || path.join(RECORD).exists() {
        return Ok(());
    }
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.filter(|name| name != OF_THE_FILE_SYSTEM).collect();
    names.sort();
    if names.is_empty() {
        return Ok(());
    }
    let more = if names.len() > NAMED { ", ..." } else { "" };
    names.truncate(NAMED);
    bail!(
        "{} holds other files ({}{more}), and no store: name an empty or a new directory",
        path.display(),
        names.join(", ")
    );
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
        let mut out = private::options().write(true).create(true).truncate(true).open(&new)?;
        out.write_all(&serde_json::to_vec_pretty(content)?)?;
        out.sync_all()?;
        fs::rename(&new, &file)?;
        File::open(path)?.sync_all()
    };
    write().with_context(|| format!("can't write {}", file.display()))
}

/// Returns true if a process uses the directory. Several may ask this at a time, so they share the lock.
pub fn is_locked(path: &Path) -> anyhow::Result<bool> {
    let file = path.join(LOCK);
    match File::open(&file) {
        Ok(lock) => Ok(matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("can't open {}", file.display())),
    }
}

/// Returns the files to which the processes of a store write their logs.
pub fn log_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let logs = path.join("logs");
    let entries = fs::read_dir(&logs).with_context(|| format!("can't read {}", logs.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|e| e == "log")).collect();
    files.sort();
    Ok(files)
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
    private::options()
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
        assert!(!is_locked(temporary.path()).unwrap());
        DataDir::open(temporary.path()).unwrap();
    }

    #[test]
    fn those_that_ask_whether_a_directory_is_used_dont_take_each_other_for_its_user() {
        let temporary = tempfile::tempdir().unwrap();
        assert!(!is_locked(temporary.path()).unwrap());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing was put there");
        drop(DataDir::open(temporary.path()).unwrap());
        let other = File::open(temporary.path().join(LOCK)).unwrap();
        other.try_lock_shared().unwrap();
        assert!(!is_locked(temporary.path()).unwrap());
    }

    #[test]
    fn a_path_that_isnt_text_is_refused_and_not_made() {
        use std::os::unix::ffi::OsStrExt as _;
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        let message = DataDir::open(&path).unwrap_err().to_string();
        assert!(message.contains("isn't UTF-8"), "{message}");
        assert!(!path.exists());
        let link = temporary.path().join("link");
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(DataDir::open(&link).unwrap_err().to_string().contains("isn't UTF-8"));
    }

    #[test]
    fn a_directory_that_goes_or_is_replaced_is_noticed() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (temporary.path().join("store"), temporary.path().join("elsewhere"));
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.presence(), Presence::Here);
        fs::rename(&path, &elsewhere).unwrap();
        assert_eq!(dir.presence(), Presence::Moved);
        let other = DataDir::open(&path).unwrap();
        assert_eq!((dir.presence(), other.presence()), (Presence::Moved, Presence::Here));
        fs::remove_dir_all(&elsewhere).unwrap();
        assert_eq!((dir.presence(), other.presence()), (Presence::Deleted, Presence::Here));
    }

    #[test]
    fn a_directory_of_other_files_is_not_taken() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join(OF_THE_FILE_SYSTEM)).unwrap();
        DataDir::open(&temporary.path().join("new")).unwrap();
        let other = temporary.path().join("other");
        fs::create_dir(&other).unwrap();
        DataDir::open(&other).unwrap();
        fs::remove_file(other.join(LOCK)).unwrap();
        fs::write(other.join("thesis.tex"), "").unwrap();
        let message = DataDir::open(&other).unwrap_err().to_string();
        assert!(message.contains("holds other files (logs, thesis.tex)"), "{message}");
        // One whose damaged record was removed has its lock.
        fs::write(other.join(LOCK), "").unwrap();
        DataDir::open(&other).unwrap();
    }

    #[test]
    fn only_the_owner_enters() {
        use std::os::unix::fs::PermissionsExt as _;
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("store");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let dir = DataDir::open(&path).unwrap();
        replace(dir.path(), RECORD, &"a record").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&path), mode(&path.join("logs"))], [0o700; 2]);
        assert_eq!([mode(&path.join(RECORD)), mode(&path.join(LOCK))], [0o600; 2]);
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
