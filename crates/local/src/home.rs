//! The directory of a person's stores, and the one that commands mean without flags.
//!
//! It is a convenience: a person without a home directory, or without the right to write there, names a
//! data directory.

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::private;

const CURRENT: &str = "current.json";

/// A store of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The store's name.
    pub name: String,
    /// The store's data directory.
    pub data_dir: PathBuf,
}

/// Returns `$SKV_HOME`, else `skv` under the user's data directory; `None` without a home directory.
pub(crate) fn home() -> Option<PathBuf> {
    let is_set = |value: &OsString| !value.to_string_lossy().trim().is_empty();
    let directory = |name: &str| env::var_os(name).filter(is_set).map(PathBuf::from);
    directory("SKV_HOME")
        .or_else(|| Some(directory("XDG_DATA_HOME")?.join("skv")))
        .or_else(|| Some(directory("HOME")?.join(".local/share/skv")))
}

fn must_have_home() -> anyhow::Result<PathBuf> {
    home().context("there is no home directory: set SKV_HOME, or name a directory with --data-dir")
}

/// Returns the default directory of a store of this name.
pub fn data_dir(name: &str) -> anyhow::Result<PathBuf> {
    Ok(must_have_home()?.join(name))
}

/// Has commands mean this store if they name none.
pub fn set_current(entry: &Entry) -> anyhow::Result<()> {
    write(CURRENT, entry)
}

/// Returns the store that commands mean if they name none.
pub fn current() -> anyhow::Result<Option<Entry>> {
    read(CURRENT)
}

/// Reads a file of the home directory; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(name: &str) -> anyhow::Result<Option<T>> {
    let Some(home) = home() else { return Ok(None) };
    let file = home.join(name);
    match std::fs::read(&file) {
        Ok(bytes) => {
            let content = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged: remove it", file.display()))?;
            Ok(Some(content))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", file.display())),
    }
}

/// Replaces a file of the home directory in one step.
pub(crate) fn write(name: &str, content: &impl Serialize) -> anyhow::Result<()> {
    let file = must_have_home()?.join(name);
    let write = || -> std::io::Result<()> {
        private::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        let new = file.with_extension("new");
        let mut out = private::options().write(true).create(true).truncate(true).open(&new)?;
        out.write_all(&serde_json::to_vec_pretty(content)?)?;
        std::fs::rename(&new, &file)
    };
    write().with_context(|| format!("can't write {}", file.display()))
}
