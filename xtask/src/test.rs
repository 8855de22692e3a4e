//! `cargo xtask test`: everything that can be tested on this machine.

use std::ffi::OsString;

use clap::ValueEnum;

use crate::packages::Unavailable;
use crate::step::{print_summary, step};
use crate::{build, e2e, python, quick};

/// Run every test: of the pure rules, of simulated clusters, of real processes, of the Python
/// clients, and of real pods on Kubernetes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only what takes five minutes, without root, network or Go: rules, a few simulated
    /// clusters, and processes of one cluster.
    #[arg(long, conflicts_with_all = ["kubernetes", "python", "arguments"])]
    quick: bool,
    /// Run the tests on Kubernetes or not [default: if a cluster can be made, unless arguments
    /// choose among the tests].
    #[arg(long, value_enum)]
    kubernetes: Option<Wanted>,
    /// Run the tests of the Python clients or not [default: if there is Python, unless arguments
    /// choose among the tests].
    #[arg(long, value_enum)]
    python: Option<Wanted>,
    /// Passed on to `cargo test`, such as a part of a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Fail where they can't be run.
    Always,
    /// Leave them out.
    Never,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let outcome = if args.quick { quick::run() } else { run_all(args) };
    print_summary();
    outcome
}

fn run_all(args: &Args) -> anyhow::Result<()> {
    // Built here, where the progress is seen; the process tests find them up to date.
    let programs = step("building the programs", build::test_programs)?;
    let tests = ["test", "--workspace"];
    step("building the tests", || build::run(build::cargo().args(tests).arg("--no-run")))?;
    step("the tests in Rust", || {
        let mut run = build::cargo();
        run.args(tests).arg("--no-fail-fast").args(&args.arguments).env("SKV_PROGRAMS", &programs);
        build::run(&mut run)
    })?;
    let default = if args.arguments.is_empty() { None } else { Some(Wanted::Never) };
    let missing = [
        part("of the Python clients", args.python.or(default), || {
            step("the tests of the Python clients", || python::run_tests(&programs, &[]))
        })?,
        part("on Kubernetes", args.kubernetes.or(default), e2e::run_all)?,
    ];
    let missing: Vec<String> = missing.into_iter().flatten().collect();
    match missing.as_slice() {
        [] => eprintln!("\nall tests passed"),
        missing => eprintln!("\nthe tests passed, but not all were run: {}", missing.join("; ")),
    }
    Ok(())
}

/// Runs a part of the tests; reports it if it wasn't run. A machine that can't run it fails no
/// test, but must not look as if it had passed them.
fn part(
    which: &str,
    wanted: Option<Wanted>,
    run: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Option<String>> {
    if wanted == Some(Wanted::Never) {
        return Ok(Some(format!("those {which} were LEFT OUT")));
    }
    match run() {
        Ok(()) => Ok(None),
        Err(error) if error.is::<Unavailable>() && wanted.is_none() => {
            eprintln!("\n*** The tests {which} are SKIPPED: {error:#}");
            Ok(Some(format!("those {which} were SKIPPED")))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn unavailable() -> anyhow::Result<()> {
        Err(Unavailable("no root".to_owned()).into())
    }

    #[test]
    fn what_can_not_be_run_here_is_said_and_nothing_fails_unless_it_was_asked_for() {
        let said = part("on Kubernetes", None, unavailable).unwrap().unwrap();
        assert!(said.contains("SKIPPED"), "{said}");
        assert!(part("on Kubernetes", Some(Wanted::Always), unavailable).is_err());
    }

    #[test]
    fn what_is_not_wanted_is_not_run_and_that_is_said() {
        let said = part("on Kubernetes", Some(Wanted::Never), || panic!("it is run")).unwrap().unwrap();
        assert!(said.contains("LEFT OUT"), "{said}");
    }

    #[test]
    fn a_failed_test_is_nothing_that_is_missing() {
        assert!(part("on Kubernetes", None, || Err(anyhow!("a test failed"))).is_err());
    }
}
