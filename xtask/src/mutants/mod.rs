//! `cargo xtask mutants`: proves that the tests are good. Each defect of `tests/mutants.yaml` is
//! made in a copy of the sources, and the tests that it names must fail.
//!
//! - `defect`: the list; `workshop`: the copy; `trial`: runs of tests, which may hang
//! - `verdicts`: what came out, kept for the next run and reported

mod defect;
mod trial;
mod verdicts;
mod workshop;

use anyhow::ensure;
use tokio::time::Instant;

pub(crate) use defect::{Mutant, load};
pub(crate) use trial::Outcome;
pub(crate) use workshop::Workshop;

use crate::format::Format;
use crate::interrupts::Interrupts;
use verdicts::{Report, Verdict, Verdicts};

/// Make the defects of tests/mutants.yaml, one at a time: the tests must notice each.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Parts of names: only these defects.
    names: Vec<String>,
    /// Pass over those that were caught before, unless they, their file or the list of their tests were
    /// edited since.
    #[arg(long)]
    resume: bool,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let chosen = |mutant: &Mutant| {
        args.names.is_empty() || args.names.iter().any(|name| mutant.name.contains(name.as_str()))
    };
    let mutants: Vec<Mutant> = load()?.into_iter().filter(chosen).collect();
    ensure!(!mutants.is_empty(), "there is no such mutant");
    let interrupts = Interrupts::listen()?;
    let mut workshop = Workshop::new(interrupts.clone())?;
    let report = try_all(&mutants, args.resume, &mut workshop, &interrupts)?;
    match args.output {
        Format::Table => println!("{}", report.table()),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    ensure!(!interrupts.is_interrupted(), "interrupted: with --resume the next run begins here");
    let uncaught = report.uncaught();
    ensure!(uncaught.is_empty(), "no test has caught {}", uncaught.join(", "));
    Ok(())
}

/// Tries one after the other until the user interrupts it, and keeps each verdict at once.
fn try_all(
    mutants: &[Mutant],
    resume: bool,
    workshop: &mut Workshop,
    interrupts: &Interrupts,
) -> anyhow::Result<Report> {
    let mut verdicts = Verdicts::open(workshop.place())?;
    let mut report = Report::of(mutants.len());
    for (number, mutant) in (1..).zip(mutants) {
        // If there is no file, there is no state to be compared, and the trial says why.
        let key = workshop.key(mutant).unwrap_or_default();
        if resume && let Some(known) = verdicts.caught(&mutant.name, &key) {
            report.add(Verdict { seconds: 0, ..known.clone() });
            continue;
        }
        let began = Instant::now();
        let outcome = workshop.try_out(mutant);
        if interrupts.is_interrupted() {
            break;
        }
        let outcome = outcome.unwrap_or_else(|error| Outcome::NotRun(format!("{error:#}")));
        let seconds = began.elapsed().as_secs();
        let verdict = Verdict::new(&mutant.name, key, &outcome, &mutant.rule, seconds);
        eprintln!("{number} of {}, {seconds} s: {verdict}", mutants.len());
        verdicts.keep(verdict.clone())?;
        report.add(verdict);
    }
    Ok(report)
}
