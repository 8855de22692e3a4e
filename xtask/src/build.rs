//! Calls of cargo, which names the programs that it has built.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::{env, thread};

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
    /// Returns cargo's name of the profile.
    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dev => "dev",
        }
    }
}

/// A program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// The name of its target: a binary, a file of tests, or a library with its tests.
    target: String,
    path: PathBuf,
}

/// Builds programs, silently if they are up to date. Returns their directory.
pub(crate) fn programs(profile: Profile, programs: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--profile", profile.name()]);
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
    let first = programs.first().context("no program is asked for")?;
    let path = path_of(first, &built(&mut build)?)?;
    Ok(path.parent().context("a program is in no directory")?.to_owned())
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

/// Builds the tests within a library; returns their program.
pub(crate) fn tests_within(package: &str) -> anyhow::Result<PathBuf> {
    test_program("--lib", package)
}

/// Builds the end-to-end tests; returns their program.
pub(crate) fn end_to_end_tests() -> anyhow::Result<PathBuf> {
    test_program("--test=e2e", "e2e")
}

/// Builds the tests of all packages that this argument of cargo chooses; returns the program of one target. With one
/// package alone, dependencies would have fewer features, and be compiled once more.
fn test_program(chosen: &str, target: &str) -> anyhow::Result<PathBuf> {
    path_of(target, &built(cargo().args(["test", "--no-run", "--workspace", chosen]))?)
}

/// Has cargo build, silently if all is up to date. Returns the programs of all targets that it was asked for.
fn built(build: &mut Command) -> anyhow::Result<Vec<Program>> {
    build.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut build = build.spawn().context("can't run cargo")?;
    let (messages, progress) = (build.stdout.take(), build.stderr.take());
    // Both are read at the same time: cargo waits when either isn't.
    let messages = thread::scope(|scope| {
        scope.spawn(|| show(progress));
        messages.map(io::read_to_string).transpose()
    });
    ensure!(build.wait()?.success(), "the build failed");
    Ok(programs_in(&messages.context("can't read cargo's messages")?.unwrap_or_default()))
}

/// Shows the progress of a build, and what the compiler says; not that all is up to date.
fn show(progress: Option<ChildStderr>) {
    let lines = progress.into_iter().flat_map(|progress| BufReader::new(progress).split(b'\n'));
    for line in lines.map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if !line.trim_start().starts_with("Finished") {
            eprintln!("{line}");
        }
    }
}

/// Returns the programs that cargo's messages name.
fn programs_in(messages: &str) -> Vec<Program> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = |message: Value| {
        let path = PathBuf::from(message["executable"].as_str()?);
        Some(Program { target: message["target"]["name"].as_str()?.to_owned(), path })
    };
    messages.filter_map(program).collect()
}

/// Returns the path of a target's program.
fn path_of(target: &str, built: &[Program]) -> anyhow::Result<PathBuf> {
    // A library has the name of its crate, in which no hyphen can be.
    let crate_name = |name: &str| name.replace('-', "_");
    let program = built.iter().find(|program| crate_name(&program.target) == crate_name(target));
    Ok(program.with_context(|| format!("cargo names no program of {target}"))?.path.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"skv_disk"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"skv"},"executable":"/target/debug/skv"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"skv_operator"},"executable":"/deps/skv_operator-1"}
{"reason":"build-finished","success":true}
a line that a build script wrote"#;
        let built = programs_in(messages);
        assert_eq!(built.len(), 2, "{built:?}");
        assert_eq!(path_of("skv", &built).unwrap(), Path::new("/target/debug/skv"));
        assert_eq!(path_of("skv-operator", &built).unwrap(), Path::new("/deps/skv_operator-1"));
        let error = path_of("skv-disk", &built).unwrap_err().to_string();
        assert_eq!(error, "cargo names no program of skv-disk");
    }

    #[test]
    fn a_build_that_fails_is_an_error_however_much_it_says_on_both_sides() {
        // More than a pipe holds.
        let script = "for i in $(seq 40000); do echo '{}'; echo '   Finished' >&2; done; exit 101";
        let error = built(by_hand("sh").args(["-c", script, "cargo"])).unwrap_err().to_string();
        assert_eq!(error, "the build failed");
    }
}
