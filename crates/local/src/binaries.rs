//! The programs that `skv up` starts.

use std::env;
use std::path::PathBuf;

use anyhow::Context as _;

/// The programs of the servers.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The shard manager.
    pub manager: PathBuf,
    /// The server of groups.
    pub server: PathBuf,
}

impl Binaries {
    /// Finds both beside this program, else in the search path.
    pub fn find() -> anyhow::Result<Binaries> {
        Ok(Binaries { manager: find("shardmanager")?, server: find("kvserver")? })
    }
}

/// Finds a program beside this one, else in the search path.
fn find(name: &str) -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("can't find out where this program is")?;
    let beside = this.parent().map(|directory| directory.join(name));
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|directory| directory.join(name));
    beside.into_iter().chain(in_path).find(|file| file.is_file()).with_context(|| {
        format!(
            "{name} is neither beside {} nor in PATH: build it with `cargo build --release -p shardmanager -p kvserver`",
            this.display()
        )
    })
}
