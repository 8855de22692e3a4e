//! Programs that the machine must have, and the Debian packages that bring them.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context as _;

use crate::command::{run_slowly, succeeds};

/// An ability that this machine lacks until a person changes it. Callers may continue without it,
/// and must say so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

/// A Debian package, and the check that its content is there.
pub(crate) struct Package {
    name: &'static str,
    brings: Brings,
}

enum Brings {
    Program(&'static str),
    File(&'static str),
    PythonModule(&'static str),
}

impl Package {
    pub(crate) const fn with_program(name: &'static str, program: &'static str) -> Package {
        Package { name, brings: Brings::Program(program) }
    }

    pub(crate) const fn with_file(name: &'static str, file: &'static str) -> Package {
        Package { name, brings: Brings::File(file) }
    }

    pub(crate) const fn with_python_module(name: &'static str, module: &'static str) -> Package {
        Package { name, brings: Brings::PythonModule(module) }
    }

    fn is_there(&self) -> bool {
        match self.brings {
            Brings::Program(program) => has_program(program),
            Brings::File(file) => Path::new(file).exists(),
            Brings::PythonModule(module) => {
                succeeds(Command::new("python3").args(["-c", &format!("import {module}")]))
            }
        }
    }
}

/// Returns true if there is a program of this name.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).any(|file| file.is_file())
}

/// Returns true if a Docker engine answers.
pub(crate) fn docker_runs() -> bool {
    static RUNS: OnceLock<bool> = OnceLock::new();
    *RUNS.get_or_init(|| succeeds(Command::new("docker").args(["info", "--format={{.ServerVersion}}"])))
}

/// Refuses to continue without root.
pub(crate) fn need_root(what: &str) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Unavailable(format!("{what} needs root")).into());
    }
    Ok(())
}

/// Installs those that are missing: only as root on Debian. Elsewhere prints advice.
pub(crate) fn install(packages: &[Package]) -> anyhow::Result<()> {
    // A second apt-get beside the first would fail.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> =
        packages.iter().filter(|package| !package.is_there()).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/etc/debian_version").exists() {
        return Err(Unavailable(format!(
            "programs are missing; on Debian these packages have them: {names}"
        ))
        .into());
    }
    let line = format!("apt-get install --no-install-recommends {names}");
    if !rustix::process::geteuid().is_root() {
        return Err(Unavailable(format!("packages are missing; install them with: sudo {line}")).into());
    }
    eprintln!("installing Debian packages: {names}");
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qy");
        apt
    };
    run_slowly("apt-get update", apt().arg("update"))?;
    run_slowly("apt-get install", apt().args(["install", "--no-install-recommends"]).args(missing))
        .with_context(|| format!("can't install packages; try: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed() {
        let packages = [Package::with_program("dash", "sh"), Package::with_file("base-files", "/etc/passwd")];
        assert!(packages.iter().all(Package::is_there));
        install(&packages).unwrap();
        assert!(!Package::with_program("none", "a-program-that-nobody-has").is_there());
    }
}
