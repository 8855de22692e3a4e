//! `cargo xtask test`: everything that can be tested on this machine.

use std::ffi::OsString;

use crate::build;

/// Run every test: of the pure rules, of simulated clusters, and of real processes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on to `cargo test`, such as a part of a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Built here, where the progress is seen; the process tests find them up to date.
    build::test_programs()?;
    build::run(build::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(&args.arguments))?;
    eprintln!("\nall tests passed");
    Ok(())
}
