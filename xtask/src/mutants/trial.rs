//! A command of a trial, run to its end or to the end of its time, and the outcome of tests.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(100);

/// The end of a run of tests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// The names of those that failed.
    Failed(Vec<String>),
    /// They didn't end within their time.
    Hung,
    /// Nothing was tested, for this reason.
    NotRun(String),
}

/// A command that has ended.
pub(super) struct Ended {
    /// None if it was killed at the end of its time.
    status: Option<ExitStatus>,
    stdout: String,
    stderr: String,
}

/// Runs a command with its output in files of a folder. It is killed with all that it started when its time is
/// over, and when the user interrupts this chore, which is an error.
pub(super) fn run(
    mut command: Command,
    folder: &Path,
    limit: Duration,
    is_interrupted: impl Fn() -> bool,
) -> anyhow::Result<Ended> {
    let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
    command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    // Cargo doesn't end the tests that it runs: they are ended by their group.
    let mut child = command.process_group(0).spawn().with_context(|| format!("can't run {command:?}"))?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if is_interrupted() {
            kill_with_its_group(&mut child)?;
            bail!("interrupted");
        }
        if began.elapsed() > limit {
            kill_with_its_group(&mut child)?;
            break None;
        }
        thread::sleep(POLL);
    };
    let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Ended { status, stdout: text(stdout)?, stderr: text(stderr)? })
}

fn kill_with_its_group(child: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process_group(pid, Signal::KILL)?;
    }
    child.wait()?;
    Ok(())
}

impl Ended {
    /// Returns what a build said if it failed.
    pub(super) fn failure(self) -> Option<String> {
        self.status.is_none_or(|status| !status.success()).then_some(self.stderr)
    }

    /// Returns the outcome of a run of tests.
    pub(super) fn outcome(self) -> Outcome {
        let Some(status) = self.status else { return Outcome::Hung };
        let name = |line: &str| Some(line.strip_prefix("---- ")?.strip_suffix(" stdout ----")?.to_owned());
        let failed: Vec<String> = self.stdout.lines().filter_map(name).collect();
        match (status.success(), failed.is_empty()) {
            (true, _) => Outcome::Passed,
            (false, false) => Outcome::Failed(failed),
            (false, true) => Outcome::NotRun(self.stderr),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("no test failed"),
            Outcome::Failed(tests) => match tests.as_slice() {
                [first, rest @ ..] if !rest.is_empty() => write!(f, "{first} and {} more", rest.len()),
                _ => f.write_str(&tests.concat()),
            },
            Outcome::Hung => f.write_str("hanging"),
            Outcome::NotRun(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use skv_scratch::Directory;

    use super::*;

    fn ended(code: Option<i32>, stdout: &str) -> Ended {
        Ended {
            status: code.map(|code| ExitStatus::from_raw(code << 8)),
            stdout: stdout.to_owned(),
            stderr: "error: it doesn't compile".to_owned(),
        }
    }

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn only_a_test_that_failed_or_hangs_has_caught_anything() {
        assert_eq!(ended(Some(0), "test result: ok").outcome(), Outcome::Passed);
        let failed = "---- a::b stdout ----\nassertion failed\n";
        assert_eq!(ended(Some(101), failed).outcome(), Outcome::Failed(vec!["a::b".to_owned()]));
        assert_eq!(ended(Some(101), "").outcome(), Outcome::NotRun("error: it doesn't compile".to_owned()));
        assert_eq!(ended(None, failed).outcome(), Outcome::Hung);
    }

    #[test]
    fn a_build_that_fails_or_is_killed_has_a_reason() {
        assert_eq!(ended(Some(0), "").failure(), None);
        assert_eq!(ended(Some(101), "").failure().unwrap(), "error: it doesn't compile");
        assert!(ended(None, "").failure().is_some());
    }

    #[test]
    fn tests_that_hang_are_killed_with_all_that_they_started() {
        let folder = Directory::new().unwrap();
        let (pipe, begun) = (folder.path().join("pipe"), folder.path().join("begun"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Both processes hold the pipe, and the inner one writes to it if it outlives the outer one.
        let mut hangs = shell("exec > pipe; (sleep 20; echo survived) & : > begun; wait");
        hangs.current_dir(folder.path());
        let reader = thread::spawn(move || fs::read_to_string(pipe));
        let until_begun = || {
            while !begun.exists() {
                thread::sleep(POLL);
            }
            false
        };
        let ended = run(hangs, folder.path(), Duration::ZERO, until_begun).unwrap();
        assert_eq!(ended.outcome(), Outcome::Hung);
        assert_eq!(reader.join().unwrap().unwrap(), "");
    }

    #[test]
    fn what_ends_in_time_is_read_and_an_interruption_is_an_error() {
        let folder = Directory::new().unwrap();
        let fails = shell("echo '---- a stdout ----'; exit 101");
        let ended = run(fails, folder.path(), Duration::MAX, || false).unwrap();
        assert_eq!(ended.outcome(), Outcome::Failed(vec!["a".to_owned()]));
        let interrupted = run(shell("sleep 3600"), folder.path(), Duration::MAX, || true);
        assert_eq!(interrupted.err().unwrap().to_string(), "interrupted");
    }
}
