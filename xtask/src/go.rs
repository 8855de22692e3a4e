//! Programs of others that are built from their sources in Go, once, and kept in the user's cache.

use std::path::{Path, PathBuf};

use skv_sharding::fnv1a;

use crate::cache;
use crate::packages::{Unavailable, has_program};

/// Returns the folder `folder/HASH` of the cache, after `compile` has filled it if it wasn't there. `title` names the
/// programs for people, and `source` all that decides on what is built.
pub(crate) fn built(
    title: &str,
    folder: &str,
    source: &str,
    compile: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let dir = cache::folder()?.join(folder).join(format!("{:016x}", fnv1a(source.as_bytes())));
    if !dir.exists() && !has_program("go") {
        let why =
            format!("{title} is built from source here, which needs Go 1.26 or newer: see https://go.dev/dl");
        return Err(Unavailable(why).into());
    }
    cache::once(&dir, compile)?;
    Ok(dir)
}
