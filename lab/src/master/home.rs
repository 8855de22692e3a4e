//! The place of a cluster's data: the master's record, and the data of its servers.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::Port;

/// The variable that names the directory in which clusters are kept over restarts of their masters.
const VARIABLE: &str = "SKV_LAB_DIR";

/// The directory of one cluster.
#[derive(Debug)]
pub(super) enum Home {
    /// The cluster is there again when the master starts again.
    Kept(PathBuf),
    /// The cluster ends with its master.
    Temporary(TempDir),
}

impl Home {
    /// Opens the directory that the environment names; else a new one, in place of those that
    /// killed masters of this port left. Only the process that listens on the port may call it.
    pub(super) fn open(port: Port) -> anyhow::Result<Home> {
        if let Some(directory) = skv_startup::variable(VARIABLE) {
            let directory = std::path::absolute(&directory)
                .with_context(|| format!("{VARIABLE} is {}", directory.display()))?;
            return Ok(Home::Kept(directory));
        }
        let prefix = format!("shardedkv-master-{port}-");
        let parent = env::temp_dir();
        remove_all(&parent, &prefix).with_context(|| format!("looking into {}", parent.display()))?;
        let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent);
        Ok(Home::Temporary(made.with_context(|| format!("making a directory in {}", parent.display()))?))
    }

    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        match self {
            Home::Kept(path) => path,
            Home::Temporary(directory) => directory.path(),
        }
    }
}

/// Removes all directories whose names have this prefix. One that belongs to somebody else stays.
fn remove_all(parent: &Path, prefix: &str) -> std::io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(directory = %entry.path().display(), %error, "an old cluster can't be removed");
        }
    }
    Ok(())
}
