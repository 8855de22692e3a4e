//! The default directory of stores, and the store that was started last.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// The store that was started last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// The store's name.
    pub name: String,
    /// The store's data directory.
    pub data_dir: PathBuf,
}

/// Returns `$SKV_HOME`, else `skv` under the user's data directory.
fn home() -> anyhow::Result<PathBuf> {
    let directory = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    directory("SKV_HOME")
        .or_else(|| Some(directory("XDG_DATA_HOME")?.join("skv")))
        .or_else(|| Some(directory("HOME")?.join(".local/share/skv")))
        .context("there is no home directory: set SKV_HOME, or name a directory with --data-dir")
}

/// Returns the default directory of a store of this name.
pub fn data_dir(name: &str) -> anyhow::Result<PathBuf> {
    Ok(home()?.join(name))
}

/// Returns the directory where a store of this name was started: that of the store that was started last,
/// else the default one.
pub fn started(name: &str) -> anyhow::Result<PathBuf> {
    match current()?.filter(|current| current.name == name) {
        Some(current) => Ok(current.data_dir),
        None => data_dir(name),
    }
}

fn current_file() -> anyhow::Result<PathBuf> {
    Ok(home()?.join("current.json"))
}

/// Remembers the store that other commands use without flags.
pub fn set_current(name: &str, data_dir: &Path) -> anyhow::Result<()> {
    let file = current_file()?;
    let current = Current { name: name.to_owned(), data_dir: data_dir.to_owned() };
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        let new = file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(&current)?)?;
        std::fs::rename(&new, &file)
    };
    write().with_context(|| format!("can't write {}", file.display()))
}

/// Returns the store that was started last, if there is one.
pub fn current() -> anyhow::Result<Option<Current>> {
    let file = current_file()?;
    match std::fs::read(&file) {
        Ok(bytes) => {
            let current = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged: remove it", file.display()))?;
            Ok(Some(current))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", file.display())),
    }
}
