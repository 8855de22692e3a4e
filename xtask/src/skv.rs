//! `cargo xtask skv`, or short `cargo skv`: the command line, freshly built.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

use crate::build::{self, Profile};

/// Build skv and the servers for release, and run skv with these arguments.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What to tell skv; --help shows what there is.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let skv = build::programs(Profile::Release, &["kvserver", "shardmanager", "skv"])?.join("skv");
    let error = Command::new(&skv)
        .args(&args.arguments)
        // What skv calls itself when it says what to type next.
        .env("SKV_COMMAND", "cargo skv")
        .exec();
    Err(error).with_context(|| format!("can't run {}", skv.display()))
}
