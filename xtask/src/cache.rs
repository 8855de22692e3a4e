//! The place of files that take long to make and outlive a checkout.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;

/// Returns the folder of this project in the user's cache.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(cache.context("there is no home directory: set HOME")?.join("shardedkv"))
}

/// Makes a folder that isn't there yet: `make` fills one beside it, which is moved to its place when it is whole.
pub(crate) fn once(dir: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let unfinished = dir.with_extension(std::process::id().to_string());
    fs::create_dir_all(&unfinished).with_context(|| format!("can't make {}", unfinished.display()))?;
    let made = make(&unfinished).and_then(|()| {
        match fs::rename(&unfinished, dir) {
            // Another process was faster, with the same result.
            Err(_) if dir.exists() => Ok(()),
            moved => moved.context("can't move what was built to its place"),
        }
    });
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("can't remove {}", unfinished.display()))?;
    }
    made
}
