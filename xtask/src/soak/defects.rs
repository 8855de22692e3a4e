//! The defects of `tests/mutants.yaml`, beginning with another one each time.

use tokio::time::Instant;

use super::tally::{Finding, Tally};
use super::tell;
use super::time::Time;
use crate::mutants::{Mutant, Outcome, Workshop, load};

pub(super) fn run(time: &Time, first: u64) -> anyhow::Result<Tally> {
    let began = Instant::now();
    let mut mutants = load()?;
    let count = mutants.len().max(1);
    mutants.rotate_left((first % count as u64) as usize);
    let mut workshop = Workshop::new(time.interrupts().clone())?;
    let mut tally = Tally { from: first, ..Tally::default() };
    for mutant in &mutants {
        if time.is_over() {
            break;
        }
        let outcome = workshop.try_out(mutant);
        // Ctrl-C has ended the tests, which judged nothing.
        if time.is_interrupted() {
            break;
        }
        tally.runs += 1;
        match outcome.unwrap_or_else(|error| Outcome::NotRun(format!("{error:#}"))) {
            caught @ (Outcome::Failed(_) | Outcome::Hung) => eprintln!("{}: caught by {caught}", mutant.name),
            Outcome::Passed => tally.findings.push(finding(mutant, &format!("SURVIVED: {}", mutant.rule))),
            Outcome::NotRun(why) => tally.findings.push(finding(mutant, &format!("can't be tested: {why}"))),
        }
        tell("mutants", &tally, time);
    }
    tally.seconds = began.elapsed().as_secs();
    Ok(tally)
}

fn finding(mutant: &Mutant, problem: &str) -> Finding {
    let problem = format!("mutant {}: {problem}", mutant.name);
    eprintln!("{problem}");
    Finding { problem, replay: format!("cargo xtask mutants {}", mutant.name), output: None }
}
