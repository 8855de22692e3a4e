//! A round of faults and resharding on a cluster of real processes; `cargo xtask soak` runs one after the
//! other. The faults and their times follow from the seed, as far as that goes with processes.
//!
//! The report goes to standard output as JSON, the events to standard error. On SIGTERM the round
//! is given up, and nothing of it stays.

mod faults;
mod report;
mod resharding;
mod round;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Runs one round, and judges the history of its clients.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// The seed, which chooses faults and changes.
    #[arg(long)]
    seed: u64,
    /// The time in which faults strike, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The folder that takes the history and the logs of all processes if something is found.
    #[arg(long)]
    keep: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    let plan = round::Plan {
        seed: options.seed,
        lasts: Duration::from_secs(options.seconds),
        keep: options.keep.clone(),
    };
    let report = tokio::select! {
        report = round::run(plan) => report,
        _ = terminated.recv() => return Ok(ExitCode::FAILURE),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(if report.finding.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
