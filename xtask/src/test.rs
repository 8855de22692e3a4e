//! `cargo xtask test`: everything that can be tested on this machine.

use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::Path;
use std::{env, thread};

use clap::ValueEnum;

use crate::packages::Unavailable;
use crate::step::{print_summary, step};
use crate::{build, command, e2e, promtool, python, quick};

/// Run every test: of the pure rules, of simulated clusters, of real processes, of the Python
/// clients, of the alerts, and of real pods on Kubernetes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only what takes five minutes, without root, network or Go: rules, a few simulated
    /// clusters, and processes of one cluster.
    #[arg(long, conflicts_with_all = ["beside", "kubernetes", "python", "arguments"])]
    quick: bool,
    /// Run the tests on Kubernetes and those of the alerts or not [default: if a cluster can be
    /// made, unless arguments choose among the tests].
    #[arg(long, value_enum)]
    kubernetes: Option<Wanted>,
    /// Run the tests of the Python clients or not [default: if there is Python, unless arguments
    /// choose among the tests].
    #[arg(long, value_enum)]
    python: Option<Wanted>,
    /// Run this line of the shell too, after the tests of the Python clients: what needs the processors, while
    /// tests on Kubernetes wait for pods. Its output is shown when it has ended.
    #[arg(long, value_name = "COMMAND")]
    beside: Option<String>,
    /// Passed on to `cargo test`, such as a part of a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// The variable that sets the number of tests of one program that run beside each other.
const THREADS: &str = "RUST_TEST_THREADS";

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
    let default = if args.arguments.is_empty() { None } else { Some(Wanted::Never) };
    let kubernetes = args.kubernetes.or(default);
    let suite = match kubernetes {
        Some(Wanted::Never) => None,
        _ => Some(e2e::Suite { tests: build::end_to_end_tests()?, programs: programs.clone() }),
    };
    step("the tests in Rust", || {
        let mut run = build::cargo();
        run.args(tests).arg("--no-fail-fast").args(&args.arguments).env("SKV_PROGRAMS", &programs);
        if env::var_os(THREADS).is_none() {
            // Many tests do nothing but wait: for elections, and for what mustn't happen.
            run.env(THREADS, (2 * thread::available_parallelism().map_or(1, usize::from)).to_string());
        }
        thread::scope(|scope| {
            // These tests often wait, and compiling Kubernetes takes minutes. A failure is found again, and
            // said, when the cluster is made.
            if suite.is_some() {
                scope.spawn(|| e2e::prepare().and_then(|()| promtool::build()));
            }
            build::run(&mut run)
        })
    })?;
    let missing = thread::scope(|scope| {
        let beside = scope.spawn(|| run_beside_kubernetes(args, args.python.or(default), &programs));
        let on_kubernetes = run_on_kubernetes(kubernetes, suite.as_ref());
        let beside = beside.join().unwrap_or_else(|panic| resume_unwind(panic));
        on_kubernetes.and_then(|on_kubernetes| Ok([beside?, on_kubernetes].concat()))
    })?;
    match missing.as_slice() {
        [] => eprintln!("\nall tests passed"),
        missing => eprintln!("\nthe tests passed, but not all were run: {}", missing.join("; ")),
    }
    Ok(())
}

/// Runs the tests that mostly wait for pods; returns the parts that weren't run. There is no suite if they aren't
/// wanted.
fn run_on_kubernetes(wanted: Option<Wanted>, suite: Option<&e2e::Suite>) -> anyhow::Result<Vec<String>> {
    let alerts = part("of the alerts", wanted, || step("the tests of the alerts", promtool::run_tests))?;
    let kubernetes = part("on Kubernetes", wanted, || suite.map_or(Ok(()), e2e::Suite::run_all))?;
    Ok([alerts, kubernetes].into_iter().flatten().collect())
}

/// Runs what the processors have time for beside them; returns the parts that weren't run.
fn run_beside_kubernetes(
    args: &Args,
    python: Option<Wanted>,
    programs: &Path,
) -> anyhow::Result<Vec<String>> {
    let python = part("of the Python clients", python, || {
        step("the tests of the Python clients", || {
            command::run_beside_others(&mut python::tests(programs, &[])?)
        })
    })?;
    if let Some(line) = &args.beside {
        // Linux has this for each thread, and what a thread starts inherits it.
        rustix::process::nice(19)?;
        step(line, || command::run_beside_others(build::by_hand("sh").arg("-c").arg(line)))?;
    }
    Ok(python.into_iter().collect())
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
