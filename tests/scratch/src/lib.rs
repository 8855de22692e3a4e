//! Temporary directories of tests. All files of one run lie in one directory, which it locks as
//! long as it lives: the next run removes directories without a lock, and ends the programs of ours
//! that still work in them.
//!
//! `cargo xtask test` is one run for all tests. A test that is started by hand is a run of its own.

mod leftovers;
mod run;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

pub use run::Run;

/// A directory of one test, removed when it is dropped.
#[derive(Debug)]
pub struct Directory {
    own: TempDir,
    /// The directory for the temporary directories of other programs.
    parent: PathBuf,
    /// The run, which must be dropped last.
    _run: Option<Arc<Run>>,
}

impl Directory {
    /// Makes an empty one.
    pub fn new() -> io::Result<Directory> {
        let surrounding = std::env::temp_dir();
        let run = if run::is_of_a_run(&surrounding) { None } else { Some(own_run()?) };
        let parent = run.as_ref().map_or(surrounding, |run| run.path().to_owned());
        Ok(Directory { own: tempfile::tempdir_in(&parent)?, parent, _run: run })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.own.path()
    }

    /// Returns the `TMPDIR` for programs that are started by this test.
    pub fn parent(&self) -> &Path {
        &self.parent
    }
}

/// Returns the run of this process, which ends with its last directory.
fn own_run() -> io::Result<Arc<Run>> {
    static RUN: Mutex<Weak<Run>> = Mutex::new(Weak::new());
    let mut known = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(run) = known.upgrade() {
        return Ok(run);
    }
    let run = Arc::new(Run::begin(&std::env::temp_dir())?);
    *known = Arc::downgrade(&run);
    Ok(run)
}
