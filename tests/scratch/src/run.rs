//! The directory of one run, with its lock.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::leftovers;

/// The beginning of the names of all directories of runs.
const PREFIX: &str = "shardedkv-tests-";
/// The file in each that its run locks.
const LOCK: &str = "lock";

/// A run of tests. Its directory is removed when it is dropped.
#[derive(Debug)]
pub struct Run {
    directory: PathBuf,
    _lock: File,
}

impl Run {
    /// Makes the directory of a run, after removing those of earlier runs that were killed.
    pub fn begin(parent: &Path) -> io::Result<Run> {
        remove_leftovers(parent)?;
        // The lock comes before the name by which other runs find it: they would take it for a leftover.
        let new = tempfile::Builder::new().prefix("shardedkv-new-").tempdir_in(parent)?;
        let lock = File::create(new.path().join(LOCK))?;
        lock.lock()?;
        let number = std::process::id();
        for attempt in 0.. {
            let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let directory = parent.join(format!("{PREFIX}{number}{suffix}"));
            match fs::rename(new.path(), &directory) {
                Ok(()) => return Ok(Run { directory, _lock: lock }),
                // Processes in another container may have the same number.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("some name is free")
    }

    /// Returns its directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Tests end the processes that they start, unless they are killed.
        leftovers::end_processes(&self.directory);
        // Files that can't be removed now are left for the next run.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns true for a run's directory, and for paths in one.
pub(crate) fn is_of_a_run(path: &Path) -> bool {
    let names = path.iter().map(|name| name.to_string_lossy());
    names.into_iter().any(|name| name.starts_with(PREFIX))
}

fn remove_leftovers(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_left(&entry.path()) {
            leftovers::end_processes(&entry.path());
            // A directory of another user stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Returns true if no process has locked it.
fn is_left(directory: &Path) -> bool {
    File::open(directory.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let run = Run::begin(parent.path()).unwrap();
        fs::create_dir(run.path().join("a")).unwrap();
        assert!(is_of_a_run(&run.path().join("a")) && !is_of_a_run(Path::new("/tmp/others")));
        drop(run);
        assert_eq!(names(parent.path()), [""; 0]);
    }

    #[test]
    fn the_next_run_removes_what_a_killed_one_left_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join(format!("{PREFIX}1"));
        fs::create_dir_all(killed.join("store/log")).unwrap();
        fs::write(killed.join(LOCK), "").unwrap();
        let others = parent.path().join("others");
        fs::create_dir(&others).unwrap();
        let alive = Run::begin(parent.path()).unwrap();
        assert!(!killed.exists() && others.exists());

        let next = Run::begin(parent.path()).unwrap();
        assert!(alive.path().exists() && alive.path() != next.path());
    }

    #[test]
    fn programs_of_ours_that_a_killed_run_left_are_ended_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join(format!("{PREFIX}1"));
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(LOCK), "").unwrap();
        // It is a program of ours, by its name.
        let server = parent.path().join("kvserver");
        fs::copy("/bin/sleep", &server).unwrap();
        let start = |program: &Path, directory: &Path| {
            let mut command = std::process::Command::new(program);
            command.arg("60").env("TMPDIR", directory).spawn().unwrap()
        };
        let mut left = start(&server, &killed);
        let mut elsewhere = start(&server, parent.path());
        let mut foreign = start(Path::new("/bin/sleep"), &killed);
        let _run = Run::begin(parent.path()).unwrap();
        assert!(!left.wait().unwrap().success());
        for other in [&mut elsewhere, &mut foreign] {
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }
}
