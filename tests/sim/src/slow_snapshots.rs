//! A group whose snapshots take more than a minute to become durable, while a clerk writes: its log
//! must be purged all the same. Then a server loses its disk, and gets everything by a snapshot
//! that takes nearly a minute, over a network that breaks in the middle, again and again: it must become
//! a voter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use skv_client::{Clerk, Options};
use skv_disk::MemoryDisk;

use crate::cluster::Cluster;
use crate::layout::{LOOK, managers, server_name, servers_of};
use crate::net;
use crate::watcher::Seen;

/// The number of keys that the clerk writes again and again.
const KEYS: u64 = 24;
const VALUE_BYTES: usize = 512 << 10;
/// The pause of the clerk, once every key is there.
const PAUSE: Duration = Duration::from_secs(2);
/// The delay of a sync. A snapshot becomes durable in some seven pieces, while it is written and while it is
/// received.
const SLOW: Duration = Duration::from_secs(15);
const SLOW_TO_RECEIVE: Duration = Duration::from_secs(8);
/// The time for which the network holds, and for which it is broken then.
const HOLDS: Duration = Duration::from_secs(25);
const BROKEN: Duration = Duration::from_secs(12);
/// The number of times that it breaks at most.
const BREAKS: u32 = 20;
/// The server that loses its disk.
const LOST: usize = 2;

/// The signals between the hosts of the simulation and its main loop.
#[derive(Debug, Clone, Default)]
struct Shared {
    written: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    /// True once the clerk no longer writes.
    ended: Arc<AtomicBool>,
    /// True once the server that lost its disk is a voter again.
    replaced: Arc<AtomicBool>,
    read: Arc<AtomicBool>,
}

pub(crate) fn simulate(seed: u64) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(seed, 1);
    // No replicas are to be removed here.
    cluster.sim.crash("operator");
    let shared = Shared::default();
    let seen = Seen::watch(&mut cluster, 0);
    cluster.sim.client("clerk", write(shared.clone()));

    let ready = || seen.all(|status| status.ready) && shared.written.load(Ordering::Relaxed) >= KEYS;
    cluster.run("the first values", ready, Duration::from_mins(2))?;
    for disk in &cluster.disks {
        disk.get().set_sync_delay_in("snapshots", SLOW);
    }
    let applied = seen.statuses().into_iter().filter_map(|(_, status)| status.applied);
    let since = applied.map(|applied| applied.index).max().context("nothing was applied")?;
    eprintln!("{:?}: snapshots become slow, after entry {since}", cluster.sim.elapsed());
    let purged = || seen.all(|status| status.purged.is_some_and(|purged| purged.index >= since));
    cluster.run("purging the log", purged, Duration::from_mins(10))?;
    eprintln!("{:?}: the log before them is purged", cluster.sim.elapsed());

    shared.enough.store(true, Ordering::Relaxed);
    for disk in &cluster.disks {
        disk.get().set_sync_delay_in("snapshots", Duration::ZERO);
    }
    cluster.run("the last values", || shared.ended.load(Ordering::Relaxed), Duration::from_mins(2))?;
    let empty = MemoryDisk::new();
    empty.set_sync_delay_in("snapshots", SLOW_TO_RECEIVE);
    cluster.sim.crash(server_name(LOST));
    cluster.disks[LOST].replace(empty);
    cluster.sim.bounce(server_name(LOST));
    eprintln!("{:?}: {} has lost its disk", cluster.sim.elapsed(), server_name(LOST));
    let replaced = || seen.all(|status| status.ready && status.snapshot.is_some());
    cluster.run("a look at the new replica", || !replaced(), Duration::from_mins(1))?;
    let mut breaks = 0;
    while breaks < BREAKS {
        cluster.run_for(HOLDS)?;
        if replaced() {
            break;
        }
        break_network(&mut cluster)?;
        breaks += 1;
    }
    eprintln!("{:?}: the network broke {breaks} times", cluster.sim.elapsed());
    ensure!(replaced() && breaks > 1, "no new replica, or none that had to wait for the network");
    shared.replaced.store(true, Ordering::Relaxed);
    eprintln!("{:?}: it is a voter again", cluster.sim.elapsed());
    cluster.run("reading all keys", || shared.read.load(Ordering::Relaxed), Duration::from_mins(1))
}

/// Has the others not reach the lost server, nor it them, for a while.
fn break_network(cluster: &mut Cluster) -> anyhow::Result<()> {
    let lost = server_name(LOST);
    let others: Vec<String> = servers_of(0).filter(|server| *server != LOST).map(server_name).collect();
    for other in &others {
        cluster.sim.partition(lost.as_str(), other.as_str());
    }
    cluster.run_for(BROKEN)?;
    for other in &others {
        cluster.sim.repair(lost.as_str(), other.as_str());
    }
    Ok(())
}

/// Writes until there is enough, and reads the keys back.
async fn write(shared: Shared) -> turmoil::Result {
    let mut options = Options::manager(managers());
    options.connector = Some(net::connector());
    options.seed = Some(skv_disk::entropy::random_id());
    options.deadline = Duration::from_mins(1);
    let clerk = Clerk::connect(options)?;
    let mut number: u64 = 0;
    while !shared.enough.load(Ordering::Relaxed) || !number.is_multiple_of(KEYS) {
        clerk.put(format!("k{}", number % KEYS), value(number)).await?;
        number += 1;
        shared.written.store(number, Ordering::Relaxed);
        if number > KEYS && !shared.enough.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    shared.ended.store(true, Ordering::Relaxed);
    while !shared.replaced.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
    for number in number - KEYS..number {
        let key = format!("k{}", number % KEYS);
        if clerk.get(key.clone()).await?.value != value(number) {
            return Err(format!("{key} isn't what was written").into());
        }
    }
    shared.read.store(true, Ordering::Relaxed);
    Ok(())
}

fn value(number: u64) -> Vec<u8> {
    let token = format!("{number};");
    token.repeat(VALUE_BYTES / token.len()).into_bytes()
}
