//! Runs a whole cluster in one process, on simulated network, disks and time. Everything follows
//! from the seed: two runs of one seed do the same to the nanosecond.
//!
//! The history goes to standard output, the events of the cluster to standard error. The exit code
//! is 0 if the history is linearizable.

mod apart;
mod ballast;
mod clocks;
mod cluster;
mod crowded;
mod faults;
mod full_disks;
mod layout;
mod lower_terms;
mod net;
mod operator;
mod resharding;
mod revived;
mod rolled_back;
mod slow_snapshots;
mod values;
mod versions;
mod watcher;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::SeedableRng as _;
use rand::rngs::{SmallRng, StdRng};
use skv_checker::Event;

use cluster::Cluster;
use faults::Storm;
use resharding::Changes;
use workload::{History, Load};

/// Simulates a cluster under faults and judges the history of its clients.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// The seed, from which everything follows.
    #[arg(long)]
    seed: u64,
    /// The number of clients that call at the same time.
    #[arg(long, default_value_t = 5)]
    clients: u64,
    /// The number of operations of each client.
    #[arg(long, default_value_t = 100)]
    ops: u32,
    /// The number of groups. With more than one, groups join and leave and shards are pinned all
    /// the time.
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// The faults, and the work that goes on meanwhile.
    #[arg(long, value_enum, default_value_t = Scenario::Storm)]
    scenario: Scenario,
    /// The simulated minutes for which all disks are full, in that scenario: a day. In more than an hour
    /// clients call less often.
    #[arg(long, default_value_t = 24 * 60)]
    minutes: u64,
    /// Show the servers' logs on standard error; for example `info`.
    #[arg(long)]
    log: Option<String>,
}

/// A kind of run. All but the first bring their own clients and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// All faults strike, one to three at a time.
    Storm,
    /// The source and the target of a move can't reach each other for five minutes.
    Apart,
    /// Snapshots take more than a minute to be written, and long to reach a server that has lost its
    /// disk.
    SlowSnapshots,
    /// Disks of followers go back in time.
    RolledBack,
    /// A group is reset amid a move, while the shard managers are away.
    Revived,
    /// A group is reset from a server that missed elections: its terms are lower than before.
    LowerTerms,
    /// All disks of a group are full for minutes, or for a day.
    FullDisks,
    /// The clocks of servers jump by years.
    Clocks,
    /// Servers are updated one after the other, amid moves.
    Versions,
    /// The memory of a target gets full amid moves.
    Crowded,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(options.seed));
    skv_disk::entropy::seed(options.seed);
    if let Some(filter) = &options.log {
        tracing_subscriber::fmt().without_time().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let seed = options.seed;
    let events = match options.scenario {
        Scenario::Storm => simulate(&options, SmallRng::seed_from_u64(seed))?,
        Scenario::Apart => apart::simulate(seed)?,
        Scenario::RolledBack => rolled_back::simulate(seed)?,
        Scenario::LowerTerms => lower_terms::simulate(seed)?,
        Scenario::Clocks => clocks::simulate(seed)?,
        Scenario::Versions => versions::simulate(seed)?,
        // These ask nobody for a history.
        Scenario::SlowSnapshots => return slow_snapshots::simulate(seed).map(|()| ExitCode::SUCCESS),
        Scenario::Revived => return revived::simulate(seed).map(|()| ExitCode::SUCCESS),
        Scenario::Crowded => return crowded::simulate(seed).map(|()| ExitCode::SUCCESS),
        Scenario::FullDisks => {
            let lasts = Duration::from_mins(options.minutes);
            return full_disks::simulate(seed, lasts).map(|()| ExitCode::SUCCESS);
        }
    };
    for event in &events {
        println!("{}", serde_json::to_string(event)?);
    }
    let verdict = skv_checker::judge(&events, &skv_checker::Options::default());
    eprintln!("seed {}: {verdict}", options.seed);
    Ok(if verdict.is_linearizable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the history of the clients, with the state after all has come to rest.
fn simulate(options: &Options, rng: SmallRng) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(options.seed, options.groups);
    let changes = Changes::default();
    cluster.sim.client("resharding", resharding::run(options.groups, changes.clone()));
    let load = Load {
        clients: options.clients,
        ops: options.ops,
        keys: 5,
        pause: Duration::from_millis(200),
        deadline: Duration::from_mins(1),
    };
    let mut histories = vec![workload::start(&mut cluster, load, &changes)];
    if options.groups > 1 {
        histories.push(ballast::start(&mut cluster, options.clients, &changes));
    }
    Storm::new(rng).rage(&mut cluster, || histories[0].is_complete(), Duration::from_mins(10))?;
    changes.enough();
    let ended = || changes.are_over() && histories.iter().all(History::is_complete);
    cluster.run("coming to rest", ended, Duration::from_mins(5))?;

    workload::read_back(&mut cluster, options.clients + 1, histories)
}
