//! The place of files that take long to make and outlive a checkout.

use std::env;
use std::path::PathBuf;

use anyhow::Context as _;

/// Returns the folder of this project in the user's cache.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(cache.context("there is no home directory: set HOME")?.join("shardedkv"))
}
