//! A copy of the sources in which defects are made, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::defect::{Mutant, ROOT};
use super::trial::{self, Ended, Outcome};
use crate::interrupts::Interrupts;
use crate::{build, command};

/// The time that tests have when they are built. A defect may make them wait for ever.
const LONGEST: Duration = Duration::from_mins(10);

/// Replaces the flags of `.cargo/config.toml`, whose setting the simulation needs to repeat a seed. A defect may
/// leave code unused, which doesn't matter here.
const RUSTFLAGS: &str = "--cfg tokio_unstable --cap-lints=allow";

/// The packages whose tests in `tests/` start the programs, and build them if nobody else did.
const WITH_PROGRAMS: [&str; 2] = ["--package=skv-process", "--package=skv"];

/// A copy of the sources in which defects are made.
pub(crate) struct Workshop {
    /// The folder of the copy and its builds.
    place: PathBuf,
    interrupts: Interrupts,
    /// The tests that were run without a defect; with the reason why they judge none, if they didn't pass.
    tested: BTreeMap<Vec<String>, Option<String>>,
}

impl Workshop {
    /// Copies the sources.
    pub(crate) fn new(interrupts: Interrupts) -> anyhow::Result<Workshop> {
        let place = build::target()?.join("mutants");
        copy_sources(&place.join("sources"))?;
        Ok(Workshop { place, interrupts, tested: BTreeMap::new() })
    }

    /// Returns the folder of the copy and its builds.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Returns the key of a defect in these sources.
    pub(super) fn key(&self, mutant: &Mutant) -> anyhow::Result<String> {
        Ok(mutant.key(&read(&self.file(mutant))?))
    }

    /// Makes a defect, runs the tests that must notice it, and undoes it.
    pub(crate) fn try_out(&mut self, mutant: &Mutant) -> anyhow::Result<Outcome> {
        let file = self.file(mutant);
        let right = read(&file)?;
        let wrong = mutant.applied_to(&right)?;
        if let Some(why) = self.problem_without_a_defect(&mutant.tests)? {
            return Ok(Outcome::NotRun(why));
        }
        fs::write(&file, wrong)?;
        let outcome = self.test(&mutant.tests);
        fs::write(&file, &right)?;
        outcome
    }

    fn file(&self, mutant: &Mutant) -> PathBuf {
        self.sources().join(&mutant.file)
    }

    fn sources(&self) -> PathBuf {
        self.place.join("sources")
    }

    /// Returns the reason why tests can't judge a defect; None if they pass without one.
    fn problem_without_a_defect(&mut self, tests: &[String]) -> anyhow::Result<Option<String>> {
        if let Some(known) = self.tested.get(tests) {
            return Ok(known.clone());
        }
        eprintln!("without a defect: {}", tests.join(" "));
        let problem = match self.test(tests)? {
            Outcome::Passed => None,
            other => Some(format!("the tests don't pass without a defect: {other}")),
        };
        self.tested.insert(tests.to_vec(), problem.clone());
        Ok(problem)
    }

    /// Builds tests, which may take any time, and runs them.
    fn test(&self, tests: &[String]) -> anyhow::Result<Outcome> {
        let mut builds = vec![self.cargo(&["test", "--no-run"], tests)];
        if start_programs(tests) {
            // The arguments are those of the tests themselves, which then find everything built.
            let programs: Vec<String> =
                build::all_programs().iter().map(|program| format!("--bin={program}")).collect();
            builds.push(self.cargo(&["build", "--workspace", "--test=profiles"], &programs));
        }
        for build in builds {
            if let Some(failure) = self.run(build, Duration::MAX)?.failure() {
                return Ok(Outcome::NotRun(failure));
            }
        }
        Ok(self.run(self.cargo(&["test"], tests), LONGEST)?.outcome())
    }

    fn cargo(&self, chore: &[&str], arguments: &[String]) -> Command {
        let mut cargo = build::cargo();
        cargo.args(chore).args(["--locked", "--quiet"]).args(arguments).current_dir(self.sources());
        cargo.env("CARGO_TARGET_DIR", self.place.join("build"));
        // These are variables, and no arguments, for the sake of tests that build programs. Each defect costs a
        // build, which takes most of the time.
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("RUSTFLAGS", RUSTFLAGS);
        // Programs that are elsewhere have no defect.
        cargo.env_remove("SKV_PROGRAMS");
        // It is enough that a test fails.
        cargo.env("PROPTEST_MAX_SHRINK_ITERS", "0");
        cargo
    }

    fn run(&self, cargo: Command, limit: Duration) -> anyhow::Result<Ended> {
        trial::run(cargo, &self.place, limit, || self.interrupts.is_interrupted())
    }
}

/// Returns true for tests that start programs. One that can't be built would else look like a test that failed.
fn start_programs(tests: &[String]) -> bool {
    tests.iter().any(|argument| WITH_PROGRAMS.contains(&argument.as_str()))
        && tests.iter().any(|argument| argument.starts_with("--test="))
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))
}

/// Brings the copy to the state of the working tree. An unchanged file isn't touched, so that it
/// isn't compiled again.
fn copy_sources(to: &Path) -> anyhow::Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(ROOT);
    let list = command::output(&mut list)?;
    let mut copied = BTreeSet::new();
    for name in list.lines() {
        let (from, to) = (Path::new(ROOT).join(name), to.join(name));
        let Ok(content) = fs::read(&from) else { continue };
        if !fs::read(&to).is_ok_and(|there| there == content) {
            if let Some(directory) = to.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(&to, content).with_context(|| format!("can't write {}", to.display()))?;
        }
        copied.insert(to);
    }
    remove_others(to, &copied)
}

/// Removes other files, since cargo finds tests by their files.
fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_built_for_tests_that_start_them() {
        let start = |tests: &[&str]| {
            let tests: Vec<String> = tests.iter().map(|&test| test.to_owned()).collect();
            start_programs(&tests)
        };
        assert!(start(&["--package=skv-process", "--test=processes", "handoff"]));
        assert!(start(&["--package=skv", "--test=people"]));
        assert!(!start(&["--package=skv", "--bin=skv", "redact"]));
        assert!(!start(&["--package=skv-store", "--test=store"]));
    }
}
