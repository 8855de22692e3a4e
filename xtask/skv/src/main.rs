//! `cargo skv`: builds skv and the programs that it starts, and runs it.
//!
//! It is a crate without any dependency, so that a new user's first command compiles nothing but
//! the programs. They are built without their feature `kubernetes`: nothing on one machine looks up SRV records or
//! talks to the API server.

use std::env;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The programs; skv finds the others beside itself.
const PROGRAMS: [&str; 3] = ["kvserver", "shardmanager", "skv"];
/// The profile, and the directory that it fills.
const PROFILE: &str = "laptop";

fn main() -> ExitCode {
    match build().and_then(|directory| run(&directory.join("skv"))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo skv: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the programs, silently if they are up to date. Returns their directory.
fn build() -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    let target = this
        .ancestors()
        .nth(2)
        .ok_or_else(|| io::Error::other("this program isn't in a target directory"))?;
    let directory = target.join(PROFILE);
    if !directory.join("skv").exists() {
        eprintln!("compiling optimised programs, once: this takes some minutes");
    }
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--profile", PROFILE, "--no-default-features"])
        .args(PROGRAMS.map(|program| format!("--package={program}")));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // The cargo that runs this program sets them. Build scripts that look at them, such as ring's,
    // would run again, and everything that depends on them be compiled again.
    let of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(of_this_package) {
            build.env_remove(name);
        }
    }
    let mut build = build.stderr(Stdio::piped()).spawn()?;
    for line in build.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        if !line.trim_start().starts_with("Finished") {
            eprintln!("{line}");
        }
    }
    if build.wait()?.success() { Ok(directory) } else { Err(io::Error::other("the build failed")) }
}

/// Becomes skv.
fn run(skv: &Path) -> io::Result<ExitCode> {
    let error = Command::new(skv)
        .args(env::args_os().skip(1))
        // The name that skv prints in its advice on what to type next.
        .env("SKV_COMMAND", "cargo skv")
        .exec();
    Err(io::Error::new(error.kind(), format!("can't run {}: {error}", skv.display())))
}
