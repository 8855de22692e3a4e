//! `skv-fuzz`: messages, log entries and files that no correct program makes, for everything that reads
//! such. Whatever comes in, nothing panics or ends, nothing takes much more memory than it came in, and
//! what serves goes on serving.
//!
//! A round is made from its seed: it is of one kind, and has many inputs. `targets` has the kinds;
//! `message`, `json` and `raw` make inputs of each form; `trial` watches what an input does; `corpus` has
//! inputs and seeds that once found something.

mod corpus;
mod draw;
mod json;
mod memory;
mod message;
mod panics;
mod raw;
mod report;
mod targets;
mod trial;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::time::Instant;

use crate::report::Report;
use crate::targets::Kind;

/// Sends what nobody designed for to everything that reads.
#[derive(Debug, clap::Parser)]
struct Options {
    /// The seed of the first round.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of rounds, one seed after the other.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Rounds for this time instead, after all of the corpus.
    #[arg(long, conflicts_with = "rounds")]
    seconds: Option<u64>,
    /// Only rounds of this kind, whatever the seed says.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    panics::watch();
    memory::limit();
    let mut report = Report::default();
    run(&options, &mut report);
    println!("{}", report.to_json());
    if let Some(finding) = &report.finding {
        eprintln!("{finding}\nreplay it with: {}", report.replay);
    }
    if report.finding.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs rounds until the first finding.
fn run(options: &Options, report: &mut Report) {
    let began = Instant::now();
    let end = options.seconds.map(|seconds| began + Duration::from_secs(seconds));
    if end.is_some() && !corpus::replay(report) {
        return;
    }
    let seeds = options.seed..;
    let is_over = |done: u64| end.map_or(done >= options.rounds, |end| Instant::now() >= end);
    for (done, seed) in (0..).zip(seeds) {
        if is_over(done) {
            return;
        }
        let kind = options.kind.unwrap_or_else(|| Kind::of(seed));
        // If the process dies of it, this is the last line.
        eprintln!("seed {seed}: {}", kind.name());
        if !report.round(kind, seed) {
            return;
        }
    }
}
