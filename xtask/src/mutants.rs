//! `cargo xtask mutants`: proves that the tests are good. Each defect of `tests/mutants.yaml` is
//! made in a copy of the sources, and the tests that it names must fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::{build, command};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Make the defects of tests/mutants.yaml, one at a time: the tests must notice each.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Parts of names: only these defects.
    names: Vec<String>,
}

/// A defect that the tests must notice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The rule that it breaks.
    pub(crate) rule: String,
    file: PathBuf,
    /// A text that occurs in the file once,
    find: String,
    /// and its replacement.
    replace: String,
    /// The arguments of `cargo test` that run the tests which must fail.
    tests: Vec<String>,
}

/// The end of a run of tests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// The names of those that failed.
    Failed(Vec<String>),
    /// Nothing was tested, for this reason.
    NotRun(String),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let chosen = |mutant: &Mutant| {
        args.names.is_empty() || args.names.iter().any(|name| mutant.name.contains(name.as_str()))
    };
    let mutants: Vec<Mutant> = load()?.into_iter().filter(chosen).collect();
    ensure!(!mutants.is_empty(), "there is no such mutant");
    let mut workshop = Workshop::new()?;
    let mut survivors = Vec::new();
    for mutant in &mutants {
        match workshop.try_out(mutant)? {
            Outcome::Failed(tests) => println!("{:<40} caught by {}", mutant.name, summary(&tests)),
            Outcome::NotRun(why) => bail!("{} can't be tested:\n{why}", mutant.name),
            Outcome::Passed => {
                println!("{:<40} SURVIVED: {}", mutant.name, mutant.rule);
                survivors.push(mutant.name.as_str());
            }
        }
    }
    ensure!(survivors.is_empty(), "no test notices {}", survivors.join(", "));
    println!("all {} were caught", mutants.len());
    Ok(())
}

/// A copy of the sources in which defects are made.
pub(crate) struct Workshop {
    sources: PathBuf,
    target: PathBuf,
    /// Tests that pass without a defect.
    right: BTreeSet<Vec<String>>,
}

impl Workshop {
    /// Copies the sources.
    pub(crate) fn new() -> anyhow::Result<Workshop> {
        let place = build::target()?.join("mutants");
        let sources = place.join("sources");
        copy_sources(&sources)?;
        Ok(Workshop { sources, target: place.join("build"), right: BTreeSet::new() })
    }

    /// Makes a defect, runs the tests that must notice it, and undoes it.
    pub(crate) fn try_out(&mut self, mutant: &Mutant) -> anyhow::Result<Outcome> {
        self.must_pass(&mutant.tests)?;
        let file = self.sources.join(&mutant.file);
        let right = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        fs::write(&file, mutant.applied_to(&right)?)?;
        let outcome = self.test(&mutant.tests);
        fs::write(&file, &right)?;
        outcome
    }

    fn must_pass(&mut self, tests: &[String]) -> anyhow::Result<()> {
        if !self.right.contains(tests) {
            eprintln!("without a defect: {}", tests.join(" "));
            match self.test(tests)? {
                Outcome::Passed => self.right.insert(tests.to_vec()),
                other => bail!("the tests don't pass without a defect: {other:?}"),
            };
        }
        Ok(())
    }

    fn test(&self, tests: &[String]) -> anyhow::Result<Outcome> {
        outcome(&cargo_test(&self.sources, &self.target, tests)?)
    }
}

pub(crate) fn summary(tests: &[String]) -> String {
    match tests {
        [first, rest @ ..] if !rest.is_empty() => format!("{first} and {} more", rest.len()),
        _ => tests.concat(),
    }
}

pub(crate) fn load() -> anyhow::Result<Vec<Mutant>> {
    let file = Path::new(ROOT).join("tests/mutants.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{}", file.display()))
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

fn cargo_test(sources: &Path, target: &Path, tests: &[String]) -> anyhow::Result<Output> {
    let mut test = build::cargo();
    // Each defect costs a build, which takes most of the time.
    test.args(["--config", "profile.dev.opt-level=0"]);
    test.args(["test", "--locked", "--quiet"]).args(tests);
    // A defect may leave code unused, which doesn't matter here.
    test.current_dir(sources).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "--cap-lints=allow");
    // It is enough that a test fails.
    test.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    test.output().context("can't run cargo")
}

fn outcome(output: &Output) -> anyhow::Result<Outcome> {
    let said = std::str::from_utf8(&output.stdout).context("cargo printed something that isn't text")?;
    let failed = said.lines().filter_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    let failed: Vec<String> = failed.map(str::to_owned).collect();
    Ok(match (output.status.success(), failed.is_empty()) {
        (true, _) => Outcome::Passed,
        (false, false) => Outcome::Failed(failed),
        (false, true) => Outcome::NotRun(String::from_utf8_lossy(&output.stderr).into_owned()),
    })
}

impl Mutant {
    fn applied_to(&self, source: &str) -> anyhow::Result<String> {
        let (name, file) = (&self.name, self.file.display());
        let count = source.matches(&self.find).count();
        ensure!(count == 1, "{name}: its text is {count} times in {file}, and must be there once");
        Ok(source.replace(&self.find, &self.replace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_defect_can_still_be_made() {
        let mutants = load().unwrap();
        for mutant in &mutants {
            let source = fs::read_to_string(Path::new(ROOT).join(&mutant.file)).unwrap();
            assert_ne!(mutant.applied_to(&source).unwrap(), source, "{}", mutant.name);
        }
        let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(names.len(), mutants.len(), "two have the same name");
    }

    #[test]
    fn only_a_test_that_failed_has_caught_anything() {
        use std::os::unix::process::ExitStatusExt as _;
        let output = |code, stdout: &str| Output {
            status: std::process::ExitStatus::from_raw(code),
            stdout: stdout.into(),
            stderr: "error: it doesn't compile".into(),
        };
        let of = |output| outcome(&output).unwrap();
        assert_eq!(of(output(0, "test result: ok")), Outcome::Passed);
        let failed = "---- a::b stdout ----\nassertion failed\n";
        assert_eq!(of(output(256, failed)), Outcome::Failed(vec!["a::b".to_owned()]));
        assert_eq!(of(output(256, "")), Outcome::NotRun("error: it doesn't compile".to_owned()));
    }
}
