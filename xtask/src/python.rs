//! `cargo xtask python`: the Python clients, tested as they are packaged, with real stores.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use skv_sharding::fnv1a;

use crate::packages::{self, Package, Unavailable};
use crate::{build, cache, command};

/// The folder of the package.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bindings/python");
/// The packages that Debian needs for it; elsewhere Python itself has it.
const PACKAGES: [Package; 2] =
    [Package::with_program("python3", "python3"), Package::with_python_module("python3-venv", "ensurepip")];

/// Run the tests of the Python clients.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on to pytest, such as `-k` and a part of a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut tests = tests(&build::test_programs()?, &args.arguments)?;
    eprintln!("\n== pytest bindings/python");
    let status = tests.status().context("can't run pytest")?;
    anyhow::ensure!(status.success(), "the tests of the Python clients failed ({status})");
    Ok(())
}

/// Returns the command that runs the tests on stores of these programs.
pub(crate) fn tests(programs: &Path, arguments: &[OsString]) -> anyhow::Result<Command> {
    let python = environment()?.join("bin/python");
    let package = build_package(&python)?;
    let mut tests = Command::new(&python);
    tests.args(["-m", "pytest"]).args(arguments).arg("--rootdir").arg(SOURCE).current_dir(SOURCE);
    tests.env("PYTHONPATH", package).env("PYTHONDONTWRITEBYTECODE", "1").env("SKV_PROGRAMS", programs);
    // Histories are judged by this very program.
    tests.env("SKV_CHECKER", env::current_exe().context("this program has a path")?);
    Ok(tests)
}

/// Returns an environment with everything that building and testing needs, but without the package
/// itself. It is never changed, so that any number of runs may share it.
fn environment() -> anyhow::Result<PathBuf> {
    packages::install(&PACKAGES)?;
    let version = command::output(
        Command::new("python3")
            .args(["-c", "import sys; print(sys.version) if sys.version_info >= (3, 11) else None"]),
    )?;
    if version.trim().is_empty() {
        return Err(Unavailable("python3 is older than 3.11: put a newer one on PATH".to_owned()).into());
    }
    let declared = Path::new(SOURCE).join("pyproject.toml");
    let mut causes = fs::read(&declared).with_context(|| format!("can't read {}", declared.display()))?;
    causes.extend(version.as_bytes());
    let folder = cache::folder()?.join("python");
    let environment = folder.join(format!("{:016x}", fnv1a(&causes)));
    if environment.exists() {
        return Ok(environment);
    }
    let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
    let made = make_environment(&unfinished).and_then(|()| {
        let kept = fs::rename(&unfinished, &environment);
        // Another run may have been quicker.
        if environment.exists() { Ok(()) } else { kept.context("can't keep the Python environment") }
    });
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("can't remove {}", unfinished.display()))?;
    }
    made.map(|()| environment)
}

fn make_environment(directory: &Path) -> anyhow::Result<()> {
    eprintln!("installing what pyproject.toml of the Python clients names");
    command::run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
    let pip = |arguments: &[&str]| command::run(pip(&directory.join("bin/python")).args(arguments));
    // Only the package itself knows its packages. They may be out of reach.
    pip(&["install", &format!("{SOURCE}[test]")]).map_err(|error| Unavailable(format!("{error:#}")))?;
    pip(&["uninstall", "--yes", "shardedkv"])
}

/// Builds the package and installs it into a folder of its own, which it returns.
fn build_package(python: &Path) -> anyhow::Result<PathBuf> {
    let folder = build::target()?.join("python");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    let install = ["install", "--no-build-isolation", "--no-deps", "--no-cache-dir", "--target"];
    command::run(pip(python).args(install).arg(&folder).arg(SOURCE))?;
    Ok(folder)
}

fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    pip
}
