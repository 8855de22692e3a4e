//! `cargo xtask sim`: clusters on simulated network, disks and time, one process per seed.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::build;

/// Simulates a cluster under faults for many seeds, or replays one seed
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds, from 1
    #[arg(long, default_value_t = 200, conflicts_with = "seed")]
    seeds: u64,
    /// Replay this seed and show what happens
    #[arg(long)]
    seed: Option<u64>,
    /// How many groups; with more than one, shards move all the time
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Instead of all faults: the source and the target of a move are apart for five minutes
    #[arg(long, conflicts_with = "groups")]
    apart: bool,
    /// Instead of all faults: snapshots take long to be written and to be received
    #[arg(long, conflicts_with_all = ["groups", "apart"])]
    slow_snapshots: bool,
    /// With --seed: show the servers' logs, for example `info`
    #[arg(long, requires = "seed")]
    log: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let program = build::simulation()?;
    let scenario = match args {
        Args { apart: true, .. } => "--apart".to_owned(),
        Args { slow_snapshots: true, .. } => "--slow-snapshots".to_owned(),
        Args { groups, .. } => format!("--groups={groups}"),
    };
    let simulate = |seed: u64| {
        let mut command = Command::new(&program);
        command.args([&format!("--seed={seed}"), &scenario]);
        command
    };
    if let Some(seed) = args.seed {
        let mut command = simulate(seed);
        if let Some(filter) = &args.log {
            command.args(["--log", filter]);
        }
        let status = command.stdout(Stdio::null()).status().context("starting the simulation")?;
        return if status.success() { Ok(()) } else { bail!("seed {seed} fails") };
    }
    let mut failed = Vec::new();
    for seed in 1..=args.seeds {
        let output = simulate(seed).output().context("starting the simulation")?;
        if !output.status.success() {
            eprintln!("seed {seed} fails; replay it with: cargo xtask sim --seed {seed} {scenario}");
            failed.push(seed);
        } else if seed % 10 == 0 || seed == args.seeds {
            eprintln!("{seed} of {} seeds", args.seeds);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("{} of {} seeds fail: {failed:?}", failed.len(), args.seeds)
    }
}
