//! `cargo xtask sim`: clusters on simulated network, disks and time, one process per seed.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::build::{self, Profile};

/// The scenarios besides the storm.
pub(crate) const SCENARIOS: [&str; 9] = [
    "apart",
    "slow-snapshots",
    "rolled-back",
    "revived",
    "lower-terms",
    "full-disks",
    "clocks",
    "versions",
    "crowded",
];

/// Simulates a cluster under faults for many seeds, or replays one seed
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of seeds, from 1
    #[arg(long, default_value_t = 200, conflicts_with = "seed")]
    seeds: u64,
    /// Replay this seed and show what happens
    #[arg(long)]
    seed: Option<u64>,
    /// The number of groups; with more than one, shards move all the time
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Another scenario than the storm of all faults
    #[arg(long, conflicts_with = "groups", value_parser = SCENARIOS)]
    scenario: Option<String>,
    /// With --seed: show the servers' logs, for example `info`
    #[arg(long, requires = "seed")]
    log: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let program = build::programs(Profile::Dev, &["skv-sim"])?.join("skv-sim");
    let scenario = match &args.scenario {
        Some(name) => format!("--scenario={name}"),
        None => format!("--groups={}", args.groups),
    };
    if let Some(seed) = args.seed {
        let mut command = command(&program, seed, &scenario);
        if let Some(filter) = &args.log {
            command.args(["--log", filter]);
        }
        let status = command.stdout(Stdio::null()).status().context("starting the simulation")?;
        return if status.success() { Ok(()) } else { bail!("seed {seed} fails") };
    }
    run_seeds(&program, 1..=args.seeds, &scenario)
}

/// Simulates each of these seeds.
pub(crate) fn run_seeds(program: &Path, seeds: RangeInclusive<u64>, scenario: &str) -> anyhow::Result<()> {
    let (last, mut failed) = (*seeds.end(), Vec::new());
    for seed in seeds {
        let output = command(program, seed, scenario).output().context("starting the simulation")?;
        if !output.status.success() {
            eprintln!("seed {seed} fails; replay it with: {}", replay(seed, scenario));
            failed.push(seed);
        } else if seed % 10 == 0 || seed == last {
            eprintln!("{seed} of {last} seeds");
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} of {last} seeds fail: {failed:?}", failed.len()) }
}

/// Returns the command that simulates one seed.
pub(crate) fn command(program: &Path, seed: u64, scenario: &str) -> Command {
    let mut command = Command::new(program);
    command.args([&format!("--seed={seed}"), scenario]);
    command
}

/// Returns the command that a person types to see a seed again.
pub(crate) fn replay(seed: u64, scenario: &str) -> String {
    format!("cargo xtask sim --seed {seed} {scenario}")
}
