//! A group whose snapshots take more than a minute to become durable, while a clerk writes: its log
//! must be purged all the same. Then a server loses its disk, and gets everything by a snapshot
//! that takes nearly a minute: it must become a voter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use skv_client::{Clerk, Options};
use skv_disk::MemoryDisk;
use skv_proto::v1;

use crate::cluster::Cluster;
use crate::layout::{SERVERS, managers, server_name};
use crate::net;
use crate::operator::statuses;

/// The number of keys that the clerk writes again and again.
const KEYS: u64 = 24;
const VALUE_BYTES: usize = 512 << 10;
/// The pause of the clerk, once every key is there.
const PAUSE: Duration = Duration::from_secs(2);
/// The delay of a sync. A snapshot becomes durable in some 50 pieces, while it is written and while it is received.
const SLOW: Duration = Duration::from_millis(1500);
const SLOW_TO_RECEIVE: Duration = Duration::from_secs(1);
/// The server that loses its disk.
const LOST: usize = 2;
/// The interval at which servers are asked for their status.
const LOOK: Duration = Duration::from_millis(500);

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
    statuses: Arc<Mutex<Vec<(usize, v1::ReplicaStatus)>>>,
}

impl Shared {
    /// Returns true if all servers answer, and meet the condition.
    fn all(&self, condition: impl Fn(&v1::ReplicaStatus) -> bool) -> bool {
        let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.len() == SERVERS && statuses.iter().all(|(_, status)| condition(status))
    }

    fn last_applied(&self) -> Option<u64> {
        let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.iter().filter_map(|(_, status)| status.applied).map(|applied| applied.index).max()
    }
}

pub(crate) fn simulate(seed: u64) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(seed, 1);
    // No replicas are to be removed here.
    cluster.sim.crash("operator");
    let shared = Shared::default();
    cluster.sim.host("watcher", {
        let shared = shared.clone();
        move || watch(shared.clone())
    });
    cluster.sim.client("clerk", write(shared.clone()));

    let ready = || shared.all(|status| status.ready) && shared.written.load(Ordering::Relaxed) >= KEYS;
    cluster.run("the first values", ready, Duration::from_mins(2))?;
    for disk in &cluster.disks {
        disk.get().set_sync_delay_in("snapshots", SLOW);
    }
    let since = shared.last_applied().context("nothing was applied")?;
    eprintln!("{:?}: snapshots become slow, after entry {since}", cluster.sim.elapsed());
    let purged = || shared.all(|status| status.purged.is_some_and(|purged| purged.index >= since));
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
    let replaced = || shared.all(|status| status.ready && status.snapshot.is_some());
    cluster.run("a look at the new replica", || !replaced(), Duration::from_mins(1))?;
    cluster.run("the new replica", replaced, Duration::from_mins(10))?;
    shared.replaced.store(true, Ordering::Relaxed);
    eprintln!("{:?}: it is a voter again", cluster.sim.elapsed());
    cluster.run("reading all keys", || shared.read.load(Ordering::Relaxed), Duration::from_mins(1))
}

async fn watch(shared: Shared) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    loop {
        let seen = statuses(&dial, 0).await;
        *shared.statuses.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        tokio::time::sleep(LOOK).await;
    }
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
