//! Runs of one seed each, in a process of its own: simulated clusters, rounds on real processes, inputs that
//! nobody designed for, and the checked operator.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use skv_checker::{Event, Outcome};
use tokio::time::Instant;

use super::tally::{Finding, Tally};
use super::tell;
use super::time::Time;
use crate::sim;

/// The scenarios that seeds take turns with.
const SCENARIOS: [&str; 16] = [
    "--groups=3",
    "--groups=1",
    "--scenario=rolled-back",
    "--groups=3",
    "--scenario=clocks",
    "--groups=1",
    "--scenario=revived",
    "--groups=3",
    "--scenario=full-disks",
    "--groups=1",
    "--scenario=slow-snapshots",
    "--groups=3",
    "--scenario=versions",
    "--scenario=apart",
    "--scenario=crowded",
    "--scenario=lower-terms",
];
/// The time in which faults strike in a round, if that much is left.
const ROUND: Duration = Duration::from_mins(1);
/// The shortest useful round.
const SHORTEST: Duration = Duration::from_secs(20);
/// The time between two lines of progress.
const TELL: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// The time after which a run stands still: a day of full disks is simulated in much less.
const LONGEST: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Simulated clusters.
    Seeds,
    /// Real processes.
    Processes,
    /// Inputs that nobody designed for.
    Fuzz,
    /// The checked operator, by the program of its tests.
    Operator(PathBuf),
}

/// Runs from one seed on.
pub(super) struct Rounds {
    pub(super) kind: Kind,
    /// The folder of the programs.
    pub(super) programs: PathBuf,
    pub(super) first: u64,
    /// True if there is only one.
    pub(super) only: bool,
    /// The folder in which the output of failures is kept.
    pub(super) kept: PathBuf,
}

/// A run that has ended.
struct Ended {
    status: ExitStatus,
    /// True if it was ended because it had stood still.
    overdue: bool,
    stdout: String,
    stderr: String,
}

/// The report of `tests/soak`, of `tests/fuzz`, and of the checked operator.
#[derive(Deserialize)]
struct Round {
    operations: u64,
    failed: u64,
    changes: u64,
    faults: BTreeMap<String, u64>,
    finding: Option<String>,
}

impl Rounds {
    /// Runs one after the other until the time is over; simulated ones beside each other.
    pub(super) fn run(&self, time: &Time) -> anyhow::Result<Tally> {
        let beside = match self.kind {
            Kind::Seeds | Kind::Fuzz | Kind::Operator(_) if !self.only => {
                thread::available_parallelism().map_or(1, usize::from)
            }
            _ => 1,
        };
        let began = Instant::now();
        let (next, tally) = (AtomicU64::new(self.first), Mutex::new((Tally::default(), began)));
        let work = || -> anyhow::Result<()> {
            if self.is_simulated() {
                // Real processes, such as those of a soak in another shell, time out without a processor. Linux has
                // this for each thread, and what a thread starts inherits it.
                rustix::process::nice(19)?;
            }
            while self.may_begin(time) {
                let Some(one) = self.one(next.fetch_add(1, Ordering::Relaxed), time)? else { break };
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.0.add(one);
                if tally.1.elapsed() >= TELL {
                    tally.1 = Instant::now();
                    tell(self.name(), &tally.0, time);
                }
                if self.only {
                    break;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..beside).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked"))))
        })?;
        let (mut tally, _) = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.from = self.first;
        tally.seconds = began.elapsed().as_secs();
        Ok(tally)
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Seeds => "seeds",
            Kind::Processes => "processes",
            Kind::Fuzz => "fuzz",
            Kind::Operator(_) => "operator",
        }
    }

    /// Returns true if the time of runs is simulated, so that they may be slow.
    fn is_simulated(&self) -> bool {
        matches!(self.kind, Kind::Seeds | Kind::Operator(_))
    }

    fn may_begin(&self, time: &Time) -> bool {
        let enough = match self.kind {
            Kind::Seeds | Kind::Fuzz | Kind::Operator(_) => Duration::ZERO,
            Kind::Processes => SHORTEST,
        };
        !time.is_over() && time.left() > enough
    }

    /// Runs one seed; None if the user interrupted it.
    fn one(&self, seed: u64, time: &Time) -> anyhow::Result<Option<Tally>> {
        let place = std::env::temp_dir().join(format!("{}-{seed}", self.name()));
        fs::create_dir_all(&place)?;
        let (command, replay) = self.command(seed, time, &place);
        let Some(ended) = run_to_end(command, &place, time)? else { return Ok(None) };
        let (mut tally, problem) = match self.kind {
            Kind::Seeds => of_simulation(seed, &ended),
            Kind::Processes | Kind::Fuzz => of_processes(seed, &ended),
            Kind::Operator(_) => of_operator(seed, &ended),
        };
        tally.runs = 1;
        let overdue = ended.overdue.then(|| format!("seed {seed} doesn't end within {LONGEST:?}"));
        if let Some(problem) = overdue.or(problem) {
            eprintln!("{problem}\n  replay it with: {replay}");
            let output = self.keep(&place, seed).map(|place| place.display().to_string());
            tally.findings.push(Finding { problem, replay, output: output.ok() });
        }
        fs::remove_dir_all(&place)?;
        Ok(Some(tally))
    }

    /// Returns the command that runs a seed, and the one that a person types to see it again.
    fn command(&self, seed: u64, time: &Time, place: &Path) -> (Command, String) {
        match &self.kind {
            Kind::Seeds => {
                let scenario = SCENARIOS[(seed % SCENARIOS.len() as u64) as usize];
                let program = self.programs.join("skv-sim");
                (sim::command(&program, seed, scenario), sim::replay(seed, scenario))
            }
            Kind::Processes => {
                let lasts = if self.only { ROUND } else { time.left().min(ROUND) };
                let mut command = Command::new(self.programs.join("skv-soak"));
                command.arg(format!("--seed={seed}")).arg(format!("--seconds={}", lasts.as_secs()));
                command.arg("--keep").arg(place).env("SKV_PROGRAMS", &self.programs);
                (command, format!("cargo xtask soak processes --seed {seed}"))
            }
            Kind::Fuzz => {
                let mut command = Command::new(self.programs.join("skv-fuzz"));
                command.arg(format!("--seed={seed}"));
                (command, format!("cargo xtask soak fuzz --seed {seed}"))
            }
            Kind::Operator(program) => {
                let seeds = format!("{seed}..{}", seed + 1);
                let mut command = Command::new(program);
                command.args(["checked", "--nocapture"]).env("SKV_OPERATOR_SEEDS", &seeds);
                (command, format!("cargo xtask soak operator --seed {seed}"))
            }
        }
    }

    /// Copies the output of a run to its lasting place.
    fn keep(&self, place: &Path, seed: u64) -> anyhow::Result<PathBuf> {
        let kept = self.kept.join(format!("{}-{seed}", self.name()));
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        Ok(kept)
    }
}

/// Runs a command with its output in files; None if the user interrupted it.
fn run_to_end(mut command: Command, place: &Path, time: &Time) -> anyhow::Result<Option<Ended>> {
    let (stdout, stderr) = (place.join("stdout"), place.join("stderr"));
    command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    // Ctrl-C doesn't reach it, so that it can end in order.
    let mut child = command.process_group(0).spawn().with_context(|| format!("can't run {command:?}"))?;
    let began = Instant::now();
    let (status, overdue) = loop {
        if let Some(status) = child.try_wait()? {
            break (status, false);
        }
        if began.elapsed() > LONGEST {
            break (terminate(&mut child)?, true);
        }
        if time.is_interrupted() {
            terminate(&mut child)?;
            return Ok(None);
        }
        thread::sleep(POLL);
    };
    let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Some(Ended { status, overdue, stdout: text(stdout)?, stderr: text(stderr)? }))
}

fn terminate(child: &mut Child) -> anyhow::Result<ExitStatus> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM)?;
    }
    Ok(child.wait()?)
}

/// Reads a run of the simulation: its history, and its output.
fn of_simulation(seed: u64, ended: &Ended) -> (Tally, Option<String>) {
    let is_failed =
        |line: &&str| serde_json::from_str::<Event>(line).is_ok_and(|event| event.outcome != Outcome::Ok);
    let mut tally = Tally {
        operations: ended.stdout.lines().count() as u64,
        failed_operations: ended.stdout.lines().filter(is_failed).count() as u64,
        ..Tally::default()
    };
    tally.changes = ended.stderr.matches(": configuration ").count() as u64;
    for line in ended.stderr.lines() {
        if let Some((_, fault)) = line.split_once(": strikes: ") {
            let end = fault.find(|c: char| !c.is_alphanumeric()).unwrap_or(fault.len());
            *tally.faults.entry(fault[..end].to_owned()).or_default() += 1;
        }
    }
    let verdict = ended.stderr.lines().find(|line| line.contains("NOT proven"));
    let last = || verdict.or(ended.stderr.lines().last()).unwrap_or("it said nothing").to_owned();
    let problem = (!ended.status.success()).then(|| format!("seed {seed} fails: {}", last()));
    (tally, problem)
}

/// Reads the report of a round.
fn of_processes(seed: u64, ended: &Ended) -> (Tally, Option<String>) {
    let Ok(round) = serde_json::from_str::<Round>(&ended.stdout) else {
        let how = ended
            .status
            .signal()
            .map_or_else(|| "ended".to_owned(), |signal| format!("died of signal {signal}"));
        return (Tally::default(), Some(format!("the round of seed {seed} {how} without a report")));
    };
    let (tally, finding) = round.read();
    (tally, finding.map(|finding| format!("the round of seed {seed}: {finding}")))
}

/// Reads the report of a seed of the checked operator, which is a line among what its test says.
fn of_operator(seed: u64, ended: &Ended) -> (Tally, Option<String>) {
    let report = ended.stdout.lines().find(|line| line.starts_with('{'));
    let Some(round) = report.and_then(|report| serde_json::from_str::<Round>(report).ok()) else {
        return (Tally::default(), Some(format!("seed {seed} of the operator ended without a report")));
    };
    let (tally, finding) = round.read();
    let fails = || (!ended.status.success()).then(|| format!("seed {seed} of the operator fails"));
    // The command that shows it again is told anyway.
    let finding = finding.map(|finding| finding.lines().next().unwrap_or_default().to_owned());
    (tally, finding.or_else(fails))
}

impl Round {
    /// Returns the tally, and the finding if there is one.
    fn read(self) -> (Tally, Option<String>) {
        let Round { operations, failed, changes, faults, finding } = self;
        let tally = Tally { operations, failed_operations: failed, changes, faults, ..Tally::default() };
        (tally, finding)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_take_turns_with_every_scenario_of_the_simulation() {
        let taken: BTreeSet<&str> =
            SCENARIOS.into_iter().filter_map(|scenario| scenario.strip_prefix("--scenario=")).collect();
        let known: BTreeSet<&str> = sim::SCENARIOS.into_iter().collect();
        assert_eq!(taken, known);
    }

    fn ended(code: i32, stdout: &str, stderr: &str) -> Ended {
        Ended {
            status: ExitStatus::from_raw(code << 8),
            overdue: false,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn a_simulation_is_counted_by_its_history_and_by_what_it_said() {
        let said = "1s: strikes: PowerLoss([1])\n2s: passes: PowerLoss([1])\n\
                    3s: strikes: OneWay { server: 1, hears: true }\n4s: strikes: RecordLost\n\
                    5s: join g1 3: configuration 7, 2 moves\nseed 7: linearizable";
        let event = |outcome: &str| {
            format!(
                r#"{{"client":1,"op":"get","key":"k","call_ns":1,"return_ns":null,"outcome":"{outcome}"}}"#
            )
        };
        let history = ["ok", "unknown", "ok"].map(event).join("\n");
        let (tally, problem) = of_simulation(7, &ended(0, &history, said));
        assert_eq!((tally.operations, tally.failed_operations, tally.changes), (3, 1, 1));
        assert_eq!(problem, None);
        let faults: Vec<_> = tally.faults.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(faults, [("OneWay", 1), ("PowerLoss", 1), ("RecordLost", 1)]);
        let (_, problem) = of_simulation(7, &ended(1, "", "seed 7: NOT proven linearizable"));
        assert_eq!(problem.unwrap(), "seed 7 fails: seed 7: NOT proven linearizable");
    }

    #[test]
    fn the_report_of_the_operator_is_found_among_what_its_test_says() {
        let report = r#"{"operations":90,"failed":2,"changes":5,"faults":{"drain":3},"finding":null}"#;
        let said = format!("\nrunning 1 test\n\n{report}\n1 seeds\ntest checked ... ok\n");
        let (tally, problem) = of_operator(7, &ended(0, &said, ""));
        assert_eq!((tally.operations, tally.failed_operations, tally.changes), (90, 2, 5));
        assert_eq!((tally.faults["drain"], problem), (3, None));
        let found = said.replace("null", r#""seed 7: g0-1 is taken\n\ncargo test""#);
        let (_, problem) = of_operator(7, &ended(101, &found, ""));
        assert_eq!(problem.unwrap(), "seed 7: g0-1 is taken");
        let (_, problem) = of_operator(7, &ended(101, &said, ""));
        assert_eq!(problem.unwrap(), "seed 7 of the operator fails");
        let (_, problem) = of_operator(7, &ended(101, "running 1 test", ""));
        assert_eq!(problem.unwrap(), "seed 7 of the operator ended without a report");
    }

    #[test]
    fn a_round_without_a_report_is_a_finding() {
        let report =
            r#"{"seed":7,"operations":9,"failed":1,"changes":2,"faults":{"disk full":3},"finding":null}"#;
        let (tally, problem) = of_processes(7, &ended(0, report, ""));
        assert_eq!((tally.operations, tally.failed_operations, tally.changes), (9, 1, 2));
        assert_eq!((tally.faults["disk full"], problem), (3, None));
        let (_, problem) = of_processes(7, &ended(1, &report.replace("null", "\"a token is lost\""), ""));
        assert_eq!(problem.unwrap(), "the round of seed 7: a token is lost");
        let (_, problem) = of_processes(7, &ended(1, "", "thread main panicked"));
        assert_eq!(problem.unwrap(), "the round of seed 7 ended without a report");
    }
}
