//! Calls of cargo.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The programs in the image; the container file reads the same list.
const PROGRAMS: &str = include_str!("../../deploy/image/programs");

/// Returns a command of cargo, as if called by hand.
pub(crate) fn cargo() -> Command {
    by_hand(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Returns a command that may call cargo, as if called by hand.
pub(crate) fn by_hand(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    // The cargo that runs this program sets them. Build scripts that look at them, such as ring's,
    // would run again, and everything that depends on them be compiled again.
    let of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(of_this_package) {
            command.env_remove(name);
        }
    }
    command
}

/// The profile of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Slowly, for use.
    Release,
    /// Quickly, as for all tests.
    Dev,
}

impl Profile {
    /// Returns cargo's name of the profile, and the directory that it fills.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Profile::Release => ("release", "release"),
            Profile::Dev => ("dev", "debug"),
        }
    }
}

/// Builds programs, silently if they are up to date. Returns their directory.
pub(crate) fn programs(profile: Profile, programs: &[&str]) -> anyhow::Result<PathBuf> {
    let (name, directory) = profile.names();
    let mut build = cargo();
    build.args(["build", "--profile", name]);
    match profile {
        Profile::Release => {
            build.args(programs.iter().map(|program| format!("--package={program}")));
        }
        // They are built together with everything that the tests need: with fewer packages, and without a
        // test, dependencies would have fewer features, and most of them be compiled once more.
        Profile::Dev => {
            build.args(["--workspace", "--test=profiles"]);
            build.args(programs.iter().map(|program| format!("--bin={program}")));
        }
    }
    let mut build = build.stderr(Stdio::piped()).spawn()?;
    for line in build.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        if !line.trim_start().starts_with("Finished") {
            eprintln!("{line}");
        }
    }
    ensure!(build.wait()?.success(), "the build failed");
    Ok(target()?.join(directory))
}

/// Returns the target directory.
pub(crate) fn target() -> anyhow::Result<PathBuf> {
    let this = env::current_exe()?;
    Ok(this.ancestors().nth(2).context("this program isn't in a target directory")?.to_owned())
}

/// Builds all programs as the tests use them.
pub(crate) fn test_programs() -> anyhow::Result<PathBuf> {
    programs(Profile::Dev, &all_programs())
}

/// Builds the simulation; returns the program.
pub(crate) fn simulation() -> anyhow::Result<PathBuf> {
    run(cargo().args(["build", "--package=skv-sim"]))?;
    let this = env::current_exe()?;
    Ok(this.parent().context("this program is in no directory")?.join("skv-sim"))
}

/// Builds the tests within a library; returns their program.
pub(crate) fn tests_within(package: &str) -> anyhow::Result<PathBuf> {
    test_program(&["--lib", &format!("--package={package}")])
}

/// Builds the end-to-end tests; returns their program. With one package alone, dependencies would have fewer
/// features, and be compiled once more.
pub(crate) fn end_to_end_tests() -> anyhow::Result<PathBuf> {
    test_program(&["--workspace", "--test=e2e"])
}

/// Builds the tests that these arguments of cargo choose; returns their program.
fn test_program(chosen: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    build.args(chosen).stderr(Stdio::inherit());
    let built = build.output().context("can't run cargo")?;
    ensure!(built.status.success(), "the build failed");
    let messages = String::from_utf8_lossy(&built.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = { messages }.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    program.with_context(|| format!("cargo names no program of these tests: {}", chosen.join(" ")))
}

/// Returns the programs that are in the image.
pub(crate) fn all_programs() -> Vec<&'static str> {
    PROGRAMS.lines().collect()
}

/// Shows a command, and runs it.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let line = format!("{program} {}", arguments.join(" "));
    eprintln!("\n== {line}");
    let status = command.status().with_context(|| format!("can't run {line}"))?;
    ensure!(status.success(), "{line} failed ({status})");
    Ok(())
}
