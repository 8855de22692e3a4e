//! Runs a whole cluster in one process, on simulated network, disks and time. Everything
//! follows from the seed: two runs of one seed do the same to the nanosecond.
//!
//! The history goes to standard output, what happened to the cluster to standard error.
//! The exit code says whether the history is linearizable.

mod cluster;
mod net;
mod operator;
mod resharding;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::SeedableRng as _;
use rand::rngs::{SmallRng, StdRng};

/// Simulates a cluster under faults and judges what its clients saw.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// What everything follows from.
    #[arg(long)]
    seed: u64,
    /// How many clients call at once.
    #[arg(long, default_value_t = 5)]
    clients: u64,
    /// How many operations each client makes.
    #[arg(long, default_value_t = 100)]
    ops: u32,
    /// How many groups there are. With more than one, groups join and leave and shards are
    /// pinned all the time.
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Show the servers' logs on standard error; for example `info`.
    #[arg(long)]
    log: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(options.seed));
    kvserver::entropy::seed(options.seed);
    if let Some(filter) = &options.log {
        tracing_subscriber::fmt().without_time().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let rng = SmallRng::seed_from_u64(options.seed);
    let mut cluster = cluster::Cluster::start(options.seed, options.groups, rng);
    let changes = resharding::Changes::default();
    if options.groups > 1 {
        let (groups, changes) = (options.groups, changes.clone());
        cluster.sim.client("resharding", resharding::run(groups, changes));
    }
    let history = workload::start(&mut cluster, options.clients, options.ops);
    cluster.run_with_faults(|| history.is_complete(), Duration::from_mins(10))?;
    if options.groups > 1 {
        changes.enough();
        cluster.run(|| changes.are_over(), Duration::from_mins(5))?;
    }

    let events = history.events();
    for event in &events {
        println!("{}", serde_json::to_string(event)?);
    }
    let verdict = skv_checker::judge(&events, &skv_checker::Options::default());
    eprintln!("seed {}: {verdict}", options.seed);
    Ok(if verdict.is_linearizable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
