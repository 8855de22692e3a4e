//! `cargo xtask test`: everything that can be tested on this machine.

use std::ffi::OsString;

use clap::ValueEnum;

use crate::packages::Unavailable;
use crate::{build, e2e};

/// Run every test: of the pure rules, of simulated clusters, of real processes, and of real
/// pods on Kubernetes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whether the tests on Kubernetes are run [default: where a cluster can be made, unless
    /// arguments choose among the tests].
    #[arg(long, value_enum)]
    kubernetes: Option<Kubernetes>,
    /// Passed on to `cargo test`, such as a part of a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kubernetes {
    /// Fail where no cluster can be made.
    Always,
    /// Leave them out.
    Never,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Built here, where the progress is seen; the process tests find them up to date.
    build::test_programs()?;
    build::programs_with_fail_points()?;
    build::run(build::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(&args.arguments))?;
    let passed = match args.kubernetes {
        Some(Kubernetes::Always) => e2e::run_all().map(|()| "all tests passed"),
        None if args.arguments.is_empty() => where_possible(e2e::run_all()),
        None | Some(Kubernetes::Never) => Ok("the tests passed; those on Kubernetes were LEFT OUT"),
    };
    eprintln!("\n{}", passed?);
    Ok(())
}

/// A machine that can't have a cluster fails no test, but must not look as if it had passed them.
fn where_possible(outcome: anyhow::Result<()>) -> anyhow::Result<&'static str> {
    match outcome {
        Ok(()) => Ok("all tests passed"),
        Err(error) if error.is::<Unavailable>() => {
            eprintln!("\n*** The tests on Kubernetes are SKIPPED: {error:#}");
            Ok("all tests but those on Kubernetes passed; those were SKIPPED")
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn where_no_cluster_can_be_made_that_is_said_and_nothing_fails() {
        let said = where_possible(Err(Unavailable("no root".to_owned()).into())).unwrap();
        assert!(said.contains("SKIPPED"), "{said}");
    }

    #[test]
    fn a_failed_test_is_no_missing_cluster() {
        assert!(where_possible(Err(anyhow!("a test failed"))).is_err());
    }
}
