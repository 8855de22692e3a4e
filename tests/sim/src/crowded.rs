//! A target whose memory gets full while the first shards are on their way to it: the source serves them, and
//! what has come of them takes no memory at the target until there is room again. Then they move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use skv_client::{Clerk, Options};
use skv_memory::Budget;
use skv_proto::v1;

use crate::cluster::{Cluster, MEMORY};
use crate::layout::{SHARDS, managers, servers_of, shard_of};
use crate::net;
use crate::resharding::{PAUSE, TIMEOUT, manager};
use crate::watcher::Seen;

/// The group that shards move to; the other has all of them.
const TARGET: u32 = 1;
/// The number of values of each shard, and the bytes of one: so many that a shard is half a second on its way.
const VALUES: usize = 4;
const VALUE_BYTES: usize = 256 << 10;
/// The memory that something else takes: more than parts of shards may reach, and less than followers refuse
/// whatever grows at.
const TAKEN: u64 = MEMORY / 100 * 77;
/// The time in which what came is let go, and all shards move in the end.
const PATIENCE: Duration = Duration::from_mins(5);
/// The time for which nothing comes after that.
const CALM: Duration = Duration::from_mins(1);

/// The signals between the hosts of the simulation and its main loop.
#[derive(Debug, Clone, Default)]
struct Shared {
    written: Arc<AtomicBool>,
    /// The rounds of reads that were answered.
    rounds: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    /// True once the clerk no longer reads.
    ended: Arc<AtomicBool>,
}

pub(crate) fn simulate(seed: u64) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(seed, 2);
    let (shared, seen) = (Shared::default(), Seen::watch(&mut cluster, TARGET as usize));
    cluster.sim.client("clerk", call(shared.clone(), keys()?));
    cluster.run("the values", || shared.written.load(Ordering::Relaxed), PATIENCE)?;
    cluster.sim.client("resharding", join());

    let memory: Vec<Budget> = cluster.memory[servers_of(TARGET as usize)].to_vec();
    let has_parts = || memory.iter().any(|budget| budget.tally().bytes() >= VALUE_BYTES as u64);
    cluster.run("the first part of a shard", has_parts, PATIENCE)?;
    for budget in &memory {
        budget.sample(None, TAKEN);
    }
    eprintln!("{:?}: strikes: MemoryFull: the target", cluster.sim.elapsed());
    cluster.run("letting go of what came", || !has_parts(), PATIENCE)?;
    eprintln!("{:?}: the target has nothing", cluster.sim.elapsed());
    let rounds = shared.rounds.load(Ordering::Relaxed);
    cluster.run_for(CALM)?;
    ensure!(!has_parts(), "more came, for which there is no room");
    ensure!(seen.all(|status| status.shards_owned == 0), "a shard is owned that has no room");
    ensure!(shared.rounds.load(Ordering::Relaxed) > rounds, "the source doesn't serve what waits");

    for budget in &memory {
        budget.sample(None, 0);
    }
    let has_half = || seen.all(|status| (status.shards_owned, status.shards_arriving) == (SHARDS / 2, 0));
    cluster.run("the moves", has_half, PATIENCE)?;
    shared.enough.store(true, Ordering::Relaxed);
    cluster.run("the last reads", || shared.ended.load(Ordering::Relaxed), PATIENCE)
}

/// Returns as many keys of each shard as it is to have values.
fn keys() -> anyhow::Result<Vec<String>> {
    let mut missing = [VALUES; SHARDS as usize];
    let mut keys = Vec::new();
    for number in 0.. {
        let key = format!("k{number}");
        let missing = &mut missing[shard_of(&key)? as usize];
        if *missing > 0 {
            *missing -= 1;
            keys.push(key);
        }
        if keys.len() == VALUES * SHARDS as usize {
            break;
        }
    }
    Ok(keys)
}

/// Writes all keys, and reads them again and again.
async fn call(shared: Shared, keys: Vec<String>) -> turmoil::Result {
    let mut options = Options::manager(managers());
    options.connector = Some(net::connector());
    options.seed = Some(skv_disk::entropy::random_id());
    options.deadline = Duration::from_mins(1);
    let clerk = Clerk::connect(options)?;
    for key in &keys {
        clerk.put(key.clone(), vec![b'v'; VALUE_BYTES]).await?;
    }
    shared.written.store(true, Ordering::Relaxed);
    while !shared.enough.load(Ordering::Relaxed) {
        for key in &keys {
            let value = clerk.get(key.clone()).await?.value;
            if value.len() != VALUE_BYTES {
                return Err(format!("{key} has {} bytes", value.len()).into());
            }
        }
        shared.rounds.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    shared.ended.store(true, Ordering::Relaxed);
    Ok(())
}

/// Has the target join.
async fn join() -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    let joining = v1::JoinRequest { groups: vec![TARGET], ..Default::default() };
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(mut manager) = manager(&dial, 0) else { continue };
        if let Ok(Ok(_)) = tokio::time::timeout(TIMEOUT, manager.join(joining.clone())).await {
            return Ok(());
        }
    }
}
