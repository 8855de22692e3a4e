//! Servers whose clocks jump by years, to and fro, while clerks call: clocks date sessions and nothing
//! else. Every history is linearizable, and the calls go on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use skv_checker::{Event, Outcome};

use crate::cluster::Cluster;
use crate::layout::{SERVERS, server_name};
use crate::operator::random_below;
use crate::resharding::Changes;
use crate::watcher::Seen;
use crate::workload::{self, Load};

const LOAD: Load = Load {
    clients: 4,
    ops: u32::MAX,
    keys: 5,
    pause: Duration::from_millis(200),
    deadline: Duration::from_mins(1),
};
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
/// The places that clocks jump to, in years from the right time.
const YEARS: [i64; 6] = [3, -2, 0, 40, -30, 0];
/// The time between two jumps.
const ROUND: Duration = Duration::from_secs(30);
/// The time after a jump after which calls are answered.
const SOON_NS: u64 = 10_000_000_000;

pub(crate) fn simulate(seed: u64) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(seed, 1);
    // Nobody removes replicas here.
    cluster.sim.crash("operator");
    let seen = Seen::watch(&mut cluster, 0);
    let changes = Changes::default();
    let history = workload::start(&mut cluster, LOAD, &changes);
    cluster.run("a group that is ready", || seen.all(|status| status.ready), Duration::from_mins(2))?;
    let mut jumps = Vec::new();
    for (round, years) in YEARS.into_iter().enumerate() {
        let leader = seen.leader().context("nobody leads")?.0;
        // The leader's clock counts most: it dates the entries.
        let server = if round % 2 == 0 { leader } else { (leader + 1) % SERVERS };
        cluster.clocks[server].set(years * YEAR_MS);
        eprintln!("{:?}: strikes: Clock({server}): {years} years from the right time", cluster.sim.elapsed());
        jumps.push(cluster.sim.elapsed().as_nanos() as u64);
        if random_below(2) == 0 {
            // Whoever leads next has another time.
            cluster.run_for(ROUND / 3)?;
            cluster.sim.crash(server_name(leader));
            cluster.disks[leader].lose_power(|| false);
            cluster.sim.bounce(server_name(leader));
            eprintln!("{:?}: strikes: PowerLoss([{leader}])", cluster.sim.elapsed());
        }
        cluster.run_for(ROUND)?;
        cluster.run("a leader", || seen.leader().is_some(), ROUND)?;
    }
    changes.enough();
    cluster.run("the clients' last calls", || history.is_complete(), Duration::from_mins(2))?;
    judge(&history.events(), &jumps)?;
    workload::read_back(&mut cluster, LOAD.clients + 1, vec![history])
}

/// Checks that reads and writes are answered soon after each jump.
fn judge(events: &[Event], jumps: &[u64]) -> anyhow::Result<()> {
    for jump in jumps {
        let after = jump + SOON_NS..jump + ROUND.as_nanos() as u64;
        let answered = |writes: bool| {
            let is_one = |event: &&Event| {
                event.outcome == Outcome::Ok
                    && event.value.is_some() == writes
                    && event.return_ns.is_some_and(|at| after.contains(&at))
            };
            events.iter().filter(is_one).count()
        };
        let (reads, writes) = (answered(false), answered(true));
        ensure!(reads > 5 && writes > 5, "{reads} reads and {writes} writes after the jump at {jump} ns");
    }
    let failed = events.iter().filter(|event| event.outcome != Outcome::Ok).count();
    eprintln!("{} calls, {failed} of them failed", events.len());
    ensure!(failed < events.len() / 20, "{failed} of {} calls failed", events.len());
    Ok(())
}
