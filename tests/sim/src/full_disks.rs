//! A group whose disks are all full, for minutes or for a day: writes are refused, reads go on, and the
//! leadership stands still. Each change of it would take room in all logs, until none is left for votes and
//! heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use skv_client::{Clerk, Error, Options};
use skv_proto::v1::ReplicaStatus;

use crate::cluster::{Cluster, Pace};
use crate::layout::{SHARDS, managers};
use crate::net;
use crate::watcher::Seen;

/// A day of heartbeats at the usual pace would take hours.
const MINUTES: Times = Times {
    pace: Pace {
        tick: Duration::from_millis(50),
        heartbeat_ms: 1000,
        election_timeout_ms: 5000,
        look: Duration::from_secs(10),
    },
    pause: Duration::from_mins(1),
};
/// Less is asked in hours: most of them are idle. The servers keep the pace that their time limits are for.
const HOURS: Times =
    Times { pace: Pace { look: Duration::from_mins(1), ..MINUTES.pace }, pause: Duration::from_mins(5) };
const VALUE_BYTES: usize = 64 << 10;
/// The deadline of each call. Nothing that takes longer goes on.
const DEADLINE: Duration = Duration::from_mins(1);
/// The entries that may come while the logs have some room left: each ends an idle session of a shard. There
/// are none of elections.
const FEW: u64 = 2 * SHARDS as u64;

/// The times of a run.
#[derive(Debug, Clone, Copy)]
struct Times {
    pace: Pace,
    /// The pause between two rounds of calls, and between two looks at who leads.
    pause: Duration,
}

impl Times {
    fn of_run(lasts: Duration) -> Times {
        if lasts > Duration::from_hours(1) { HOURS } else { MINUTES }
    }
}

/// The signals between the clerk and the main loop.
#[derive(Debug, Clone, Default)]
struct Shared {
    full: Arc<AtomicBool>,
    /// The rounds of reads that were answered.
    rounds: Arc<AtomicU64>,
    mended: Arc<AtomicBool>,
    written: Arc<AtomicBool>,
}

pub(crate) fn simulate(seed: u64, lasts: Duration) -> anyhow::Result<()> {
    let Times { pace, pause } = Times::of_run(lasts);
    let mut cluster = Cluster::with_pace(seed, 1, pace);
    // No replicas are to be removed here.
    cluster.sim.crash("operator");
    let (shared, seen) = (Shared::default(), Seen::watch(&mut cluster, 0));
    cluster.run("a group that is ready", || seen.all(|status| status.ready), Duration::from_mins(5))?;
    for disk in &cluster.disks {
        let disk = disk.get();
        disk.set_capacity(Some(disk.used()));
    }
    cluster.sim.client("clerk", call(shared.clone(), pause));
    let is_full = || {
        shared.full.load(Ordering::Relaxed) && seen.all(|status| status.disk_full) && seen.leader().is_some()
    };
    cluster.run("full disks", is_full, Duration::from_mins(10))?;

    // The last leader that had room, if there was one, has made way by now.
    cluster.run_for(pause)?;
    let (leader, ends) = (seen.leader().context("nobody leads")?, ends(&seen));
    let (from, rounds) = (cluster.sim.elapsed(), shared.rounds.load(Ordering::Relaxed));
    eprintln!("{from:?}: strikes: FullDisks: {leader:?} leads, the logs end at {ends:?}");
    while cluster.sim.elapsed() < from + lasts {
        cluster.run_for(pause)?;
        let now = seen.leader();
        ensure!(now == Some(leader), "{:?}: {now:?} leads instead of {leader:?}", cluster.sim.elapsed());
    }
    let calls = shared.rounds.load(Ordering::Relaxed) - rounds;
    eprintln!(
        "{:?}: {calls} rounds of reads; the logs end at {:?}",
        cluster.sim.elapsed(),
        self::ends(&seen)
    );
    ensure!(calls >= lasts.as_secs() / pause.as_secs() / 3, "only {calls} rounds of reads were answered");
    for (server, end) in self::ends(&seen) {
        let before = ends.get(&server).copied().unwrap_or(0);
        ensure!(end <= before + FEW, "the log of server {server} grew from {before} to {end}");
    }

    for disk in &cluster.disks {
        disk.get().set_capacity(None);
    }
    shared.mended.store(true, Ordering::Relaxed);
    cluster.run("a write", || shared.written.load(Ordering::Relaxed), pause + Duration::from_mins(5))
}

/// Returns the last entry of each server's log.
fn ends(seen: &Seen) -> BTreeMap<usize, u64> {
    let end = |status: ReplicaStatus| status.last_log.map_or(0, |id| id.index);
    seen.statuses().into_iter().map(|(server, status)| (server, end(status))).collect()
}

/// Writes until the disks are full, reads all of it again and again, and writes once more in the end.
async fn call(shared: Shared, pause: Duration) -> turmoil::Result {
    let mut options = Options::manager(managers());
    options.connector = Some(net::connector());
    options.seed = Some(skv_disk::entropy::random_id());
    options.deadline = DEADLINE;
    let clerk = Clerk::connect(options)?;
    let mut written = Vec::new();
    for number in 0.. {
        let key = format!("k{number}");
        match clerk.put(key.clone(), vec![b'v'; VALUE_BYTES]).await {
            Ok(_) => written.push(key),
            Err(Error::Refused(skv_proto::Error::DiskFull(_))) => break,
            Err(error) => eprintln!("{:?}: {key}: {error}", turmoil::elapsed()),
        }
    }
    eprintln!("{:?}: {} values were written", turmoil::elapsed(), written.len());
    shared.full.store(true, Ordering::Relaxed);
    while !shared.mended.load(Ordering::Relaxed) {
        for key in &written {
            let value = clerk.get(key.clone()).await?.value;
            if value.len() != VALUE_BYTES {
                return Err(format!("{key} has {} bytes", value.len()).into());
            }
        }
        let refused = clerk.put("more", vec![b'v'; VALUE_BYTES]).await;
        let is_right = matches!(&refused, Err(Error::Refused(skv_proto::Error::DiskFull(_))));
        if !is_right && !shared.mended.load(Ordering::Relaxed) {
            return Err(format!("a put was answered with {refused:?}").into());
        }
        shared.rounds.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
    clerk.put("after", "x").await?;
    shared.written.store(true, Ordering::Relaxed);
    Ok(())
}
