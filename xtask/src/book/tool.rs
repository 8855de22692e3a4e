//! mdBook, which makes HTML of the book: compiled once per machine, and kept in the user's cache.

use std::path::PathBuf;
use std::process::Command;

use crate::packages::Unavailable;
use crate::{build, cache, command};

/// The version that is installed.
const VERSION: &str = "0.5.4";

/// Returns the program: the one on PATH if it has the version, or else the one in the cache.
pub(super) fn mdbook() -> anyhow::Result<PathBuf> {
    let tools = cache::folder()?.join("tools").join(format!("mdbook-{VERSION}"));
    let cached = tools.join("bin/mdbook");
    for program in ["mdbook".into(), cached.clone()] {
        let version = command::output(Command::new(&program).arg("--version"));
        if version.is_ok_and(|version| version.trim() == format!("mdbook v{VERSION}")) {
            return Ok(program);
        }
    }
    let mut install = build::cargo();
    install.args(["install", "mdbook", "--locked", "--version", VERSION, "--root"]).arg(&tools);
    // Its server and its watcher aren't needed, and they are most of it.
    install.args(["--no-default-features", "--features=search"]);
    // Settings of this repository must not affect it.
    install.current_dir(std::env::temp_dir()).env_remove("RUSTFLAGS");
    command::run_slowly("compiling mdBook, once on this machine", &mut install)
        .map_err(|error| Unavailable(format!("mdBook can't be installed: {error:#}")))?;
    Ok(cached)
}
