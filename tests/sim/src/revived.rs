//! A group is reset amid a move, from a replica that never heard of the move, while the shard managers
//! are away: it tells the target that nothing is to come. Then the managers are back, whose plan has the
//! move as before, and so are the group's old members. Everything must settle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use skv_client::{Clerk, Options};
use skv_proto::v1;
use skv_proto::v1::shard_status::State;

use crate::cluster::Cluster;
use crate::layout::{LOOK, MANAGERS, managers, server_name, servers_of};
use crate::net;
use crate::operator::admin;
use crate::resharding::{Changes, PAUSE, TIMEOUT, come_to_rest, manager, shards_of};
use crate::watcher::Seen;

/// The source has all shards at first; the target gets half of them.
const SOURCE: usize = 0;
const TARGET: usize = 1;
/// So much in each shard that it takes a while to move.
const KEYS: u32 = 96;
const VALUE_BYTES: usize = 128 << 10;
/// Longer than a target waits for a move to go on, before it asks after it.
const AWAY: Duration = Duration::from_secs(40);

/// The signals between hosts of the simulation.
#[derive(Debug, Clone, Default)]
struct Flags {
    written: Arc<AtomicBool>,
    moving: Arc<AtomicBool>,
    revived: Arc<AtomicBool>,
    read: Arc<AtomicBool>,
}

pub(crate) fn simulate(seed: u64) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(seed, 2);
    cluster.sim.crash("operator");
    let seen = Seen::watch(&mut cluster, SOURCE);
    let (flags, changes) = (Flags::default(), Changes::default());
    cluster.sim.client("clerk", use_values(flags.clone(), changes.clone()));
    let is_there = || flags.written.load(Ordering::Relaxed) && seen.all(has_all);
    cluster.run("the values", is_there, Duration::from_mins(3))?;

    let survivor = seen.follower(SOURCE).context("nobody leads")?;
    let others: Vec<String> =
        servers_of(SOURCE).filter(|index| *index != survivor).map(server_name).collect();
    let out_of_reach = others.iter().cloned().chain(MANAGERS.map(str::to_owned));
    let out_of_reach: Vec<String> = out_of_reach.collect();
    let survivor_name = server_name(survivor);
    for host in &out_of_reach {
        cluster.sim.partition(survivor_name.as_str(), host.as_str());
    }
    cluster.sim.client("resharding", begin_moves(flags.clone()));
    cluster.run("the moves", || flags.moving.load(Ordering::Relaxed), Duration::from_mins(2))?;
    for host in &out_of_reach {
        cluster.sim.crash(host.as_str());
        cluster.sim.repair(survivor_name.as_str(), host.as_str());
    }
    eprintln!("{:?}: only {survivor_name} is left of the source", cluster.sim.elapsed());
    let revived = flags.revived.clone();
    cluster.sim.client("person", async move {
        revive(SOURCE, survivor).await;
        revived.store(true, Ordering::Relaxed);
        Ok(())
    });
    cluster.run("the reset", || flags.revived.load(Ordering::Relaxed), Duration::from_mins(2))?;
    eprintln!("{:?}: strikes: Reset({survivor})", cluster.sim.elapsed());
    cluster.run_for(AWAY)?;

    for host in &out_of_reach {
        cluster.sim.bounce(host.as_str());
    }
    eprintln!("{:?}: all are back", cluster.sim.elapsed());
    cluster.sim.client("judge", {
        let changes = changes.clone();
        async move {
            come_to_rest(&skv_net::dial(net::connector()), 2, &changes).await;
            Ok(())
        }
    });
    cluster.run("coming to rest", || changes.are_over(), Duration::from_mins(5))?;
    let is_whole = || seen.all(|status| status.ready && status.incarnation > 0);
    cluster.run("the new members", is_whole, Duration::from_mins(2))?;
    cluster.run("reading all values", || flags.read.load(Ordering::Relaxed), Duration::from_mins(2))
}

fn has_all(status: &v1::ReplicaStatus) -> bool {
    let index = |id: Option<v1::LogId>| id.map_or(0, |id| id.index);
    status.ready && status.keys == u64::from(KEYS) && index(status.applied) == index(status.last_log)
}

fn value(key: u32) -> Vec<u8> {
    format!("{key};").repeat(VALUE_BYTES / 4).into_bytes()
}

/// Writes the values, and reads them when all has come to rest.
async fn use_values(flags: Flags, changes: Changes) -> turmoil::Result {
    let mut options = Options::manager(managers());
    options.connector = Some(net::connector());
    options.seed = Some(skv_disk::entropy::random_id());
    options.deadline = Duration::from_mins(1);
    let clerk = Clerk::connect(options)?;
    for key in 0..KEYS {
        clerk.put(format!("k{key}"), value(key)).await?;
    }
    flags.written.store(true, Ordering::Relaxed);
    while !changes.are_over() {
        tokio::time::sleep(LOOK).await;
    }
    for key in 0..KEYS {
        if clerk.get(format!("k{key}")).await?.value != value(key) {
            return Err(format!("k{key} isn't what was written").into());
        }
    }
    flags.read.store(true, Ordering::Relaxed);
    Ok(())
}

/// Has the target join, and says when it receives a shard.
async fn begin_moves(flags: Flags) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    let joining = v1::JoinRequest { groups: vec![TARGET as u32], ..Default::default() };
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(mut manager) = manager(&dial, 0) else { continue };
        if matches!(tokio::time::timeout(TIMEOUT, manager.join(joining.clone())).await, Ok(Ok(_))) {
            break;
        }
    }
    let is_arriving = |shard: &v1::ShardStatus| shard.state() == State::Arriving && shard.bytes > 0;
    while !shards_of(&dial, TARGET).await.is_ok_and(|shards| shards.iter().any(is_arriving)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    flags.moving.store(true, Ordering::Relaxed);
    Ok(())
}

/// Resets a group from its survivor, as soon as that has lost its quorum.
pub(crate) async fn revive(group: usize, survivor: usize) {
    let dial = skv_net::dial(net::connector());
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(mut admin) = admin(&dial, survivor) else { continue };
        let request = v1::ResetRequest { group: group as u32, accept_data_loss: true, meant: None };
        match tokio::time::timeout(Duration::from_mins(1), admin.reset(request)).await {
            Ok(Ok(_)) => return,
            Ok(Err(status)) => eprintln!("{:?}: not yet: {}", turmoil::elapsed(), status.message()),
            Err(_) => {}
        }
    }
}
