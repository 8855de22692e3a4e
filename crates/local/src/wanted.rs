//! The groups whose servers must run: the file `wanted.json`, by which commands that change the number of
//! groups inform the supervisor.
//!
//! A command that takes a group out of it has seen that the group is retired, since the supervisor removes
//! the data of groups that aren't in it. It is always replaced as a whole, and read again at every start:
//! so the supervisor may obey it late, or twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, bail};
use skv_sharding::GroupId;

use crate::data_dir::{lock_file, read, replace};

const WANTED: &str = "wanted.json";
const LOCK: &str = "apply.lock";

/// The right to change the wanted groups: one process at a time holds it.
#[derive(Debug)]
pub struct Turn<'a> {
    path: &'a Path,
    _lock: File,
}

impl Turn<'_> {
    /// Takes the right; fails if another process holds it.
    pub fn take(path: &Path) -> anyhow::Result<Turn<'_>> {
        let lock = lock_file(path, LOCK)?;
        match lock.try_lock() {
            Ok(()) => Ok(Turn { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => bail!(
                "another `skv apply` or `skv up` is changing the groups of the store in {}: wait until it has ended",
                path.display()
            ),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("can't lock {}", path.join(LOCK).display()))
            }
        }
    }

    /// Orders the supervisor to run the servers of exactly these groups.
    pub fn want(&self, groups: &BTreeSet<GroupId>) -> anyhow::Result<()> {
        replace(self.path, WANTED, groups)
    }
}

/// Returns the groups whose servers must run; `None` if that was never changed.
pub fn wanted(path: &Path) -> anyhow::Result<Option<BTreeSet<GroupId>>> {
    let groups: Option<BTreeSet<GroupId>> = read(path, WANTED, "`skv apply` writes it again")?;
    // A supervisor that obeyed an empty list would remove all data.
    let is_empty = groups.as_ref().is_some_and(BTreeSet::is_empty);
    anyhow::ensure!(!is_empty, "{} names no group: remove it", path.join(WANTED).display());
    Ok(groups)
}

/// Removes the file, for a store that begins again.
pub fn forget(path: &Path) -> anyhow::Result<()> {
    let file = path.join(WANTED);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_as_it_was_written() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        assert_eq!(wanted(path).unwrap(), None);
        let turn = Turn::take(path).unwrap();
        let groups = BTreeSet::from([GroupId(0), GroupId(2)]);
        turn.want(&groups).unwrap();
        assert_eq!(wanted(path).unwrap(), Some(groups));
        turn.want(&BTreeSet::new()).unwrap();
        assert!(wanted(path).unwrap_err().to_string().contains("names no group"));
        forget(path).unwrap();
        assert_eq!(wanted(path).unwrap(), None);
    }

    #[test]
    fn one_at_a_time_changes_the_groups() {
        let temporary = tempfile::tempdir().unwrap();
        let turn = Turn::take(temporary.path()).unwrap();
        let message = Turn::take(temporary.path()).unwrap_err().to_string();
        assert!(message.starts_with("another `skv apply` or `skv up` is changing"), "{message}");
        drop(turn);
        Turn::take(temporary.path()).unwrap();
    }
}
