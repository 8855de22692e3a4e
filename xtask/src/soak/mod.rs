//! `cargo xtask soak`: tests without end. Seeds of the simulations, faults and resharding on real
//! processes, and the defects that tests must notice, for any number of hours.
//!
//! - `time`: the end of a soak; `tally`: its runs and findings, as a table or JSON
//! - `rounds`: seeds of the simulations, and rounds of `tests/soak`; `defects`: the mutants

mod defects;
mod rounds;
mod tally;
mod time;

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;

use crate::build::{self, Profile};
use crate::cache;
use crate::format::Format;
use rounds::{Kind, Rounds};
use tally::{Report, Tally};
use time::Time;

/// Run seeds, real processes and mutants for hours: faults strike, shards move, and each history is
/// judged.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The time in hours; 0.1 are six minutes.
    #[arg(long, default_value_t = 1.0, conflicts_with = "seed")]
    hours: f64,
    /// The tests to run; with all, each kind has an equal part of the time.
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Begin with this seed; without it, one that is drawn.
    #[arg(long)]
    from: Option<u64>,
    /// Run only this seed, of one kind of tests.
    #[arg(long, conflicts_with = "from")]
    seed: Option<u64>,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Faults and resharding on real processes.
    Processes,
    /// Clusters that are simulated.
    Seeds,
    /// Defects of tests/mutants.yaml.
    Mutants,
    /// Messages, log entries and files that nobody designed for.
    Fuzz,
    /// The operator in Kubernetes clusters that are simulated.
    Operator,
    /// Each of them.
    All,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let seconds = args.hours * 3600.0;
    ensure!(seconds.is_finite() && seconds > 0.0, "--hours must be more than 0");
    let has_seeds = !matches!(args.what, What::All | What::Mutants);
    ensure!(
        args.seed.is_none() || has_seeds,
        "--seed needs one kind of tests: processes, seeds, fuzz or operator"
    );
    let programs = build::programs(
        Profile::Dev,
        &["kvserver", "shardmanager", "skv", "skv-fuzz", "skv-sim", "skv-soak"],
    )?;
    // Building takes none of the soak's time, and Ctrl-C ends it.
    let operator = match args.what {
        What::Operator | What::All => Some(build::tests_within("skv-operator")?),
        _ => None,
    };
    let first = args.seed.or(args.from).unwrap_or_else(drawn);
    let whole = Time::begin(Duration::from_secs_f64(seconds))?;
    let mut report = Report::default();
    let rounds = |kind, only| Rounds { kind, programs: programs.clone(), first, only, kept: kept() };
    let (all, only_one) = (args.what == What::All, args.seed.is_some());
    // After Ctrl-C no other kind begins.
    let is_due = |what: What| args.what == what || all && !whole.is_interrupted();
    if is_due(What::Processes) {
        let time = if all { whole.part(5) } else { whole.clone() };
        report.add("processes", rounds(Kind::Processes, only_one).run(&time)?);
    }
    if is_due(What::Mutants) {
        let time = if all { whole.part(4) } else { whole.clone() };
        report.add("mutants", defects::run(&time, first)?);
    }
    if is_due(What::Fuzz) {
        let time = if all { whole.part(3) } else { whole.clone() };
        report.add("fuzz", rounds(Kind::Fuzz, only_one).run(&time)?);
    }
    if let Some(program) = operator.filter(|_| is_due(What::Operator)) {
        let time = if all { whole.part(2) } else { whole.clone() };
        report.add("operator", rounds(Kind::Operator(program), only_one).run(&time)?);
    }
    if is_due(What::Seeds) {
        report.add("seeds", rounds(Kind::Seeds, only_one).run(&whole)?);
    }
    match args.output {
        Format::Table => println!("{}", report.table()),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    let findings = report.findings();
    ensure!(findings == 0, "{findings} findings");
    Ok(())
}

/// Draws a number to begin with, short enough to be typed.
fn drawn() -> u64 {
    RandomState::new().hash_one("seed") % 1_000_000_000
}

/// Returns the folder where output of failures is kept.
fn kept() -> PathBuf {
    cache::folder().unwrap_or_else(|_| std::env::temp_dir()).join("soak")
}

/// Prints the progress.
fn tell(what: &str, tally: &Tally, time: &Time) {
    eprintln!(
        "{what}: {} runs, {} operations, {} findings; {} minutes left",
        tally.runs,
        tally.operations,
        tally.findings.len(),
        time.left().as_secs().div_ceil(60)
    );
}
