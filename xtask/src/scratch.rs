//! Chores that run tests work in a temporary directory that is removed with its contents.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::Context as _;
use skv_scratch::Run;

/// Set for the chore that runs within the directory.
const WITHIN: &str = "SKV_XTASK_SCRATCH";

/// Runs this chore once more in a directory of its own; None if this is that run.
pub(crate) fn again_within() -> anyhow::Result<Option<ExitCode>> {
    if env::var_os(WITHIN).is_some() {
        return Ok(None);
    }
    let parent = env::temp_dir();
    let run = Run::begin(&parent).with_context(|| format!("making a directory in {}", parent.display()))?;
    // Ctrl-C reaches the chore as well; this process waits for it, and then removes the directory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    });
    let mut chore = Command::new(env::current_exe()?);
    chore.args(env::args_os().skip(1)).env(WITHIN, "1").env("TMPDIR", run.path());
    let status = chore.status().context("starting the chore")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(1));
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(1))))
}
