//! A move whose source and target can't reach each other for five minutes, while clerks call on all
//! shards: no other shard may be affected, and then it ends.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use skv_checker::{Event, Outcome};
use skv_proto::v1;
use skv_proto::v1::shard_status::State;

use crate::cluster::Cluster;
use crate::layout::{SHARDS, server_name, servers_of, shard_of};
use crate::operator::random_below;
use crate::resharding::{Changes, PAUSE, TIMEOUT, come_to_rest, manager, shards_of};
use crate::workload::{self, Load};
use crate::{ballast, net};

/// The source has all shards at first; the target gets half of them.
const GROUPS: [usize; 2] = [0, 1];
const APART: Duration = Duration::from_mins(5);
/// The time between the start of the clients and the moves.
const QUIET: Duration = Duration::from_secs(5);
/// The load calls on enough keys to reach nearly every shard, all the time. No change of a leader
/// takes as long as the calls wait.
const LOAD: Load = Load {
    clients: 5,
    ops: u32::MAX,
    keys: 60,
    pause: Duration::from_millis(1200),
    deadline: Duration::from_secs(10),
};
/// The time between two looks at the shards that have arrived.
const LOOK: Duration = Duration::from_millis(5);
/// The number of shards that leave a group at a time.
const MOST_FROZEN: usize = 2;

/// The shards that no group can serve while the groups are apart, once that was determined.
#[derive(Debug, Clone, Default)]
struct Unserved(Arc<Mutex<Option<BTreeSet<u32>>>>);

impl Unserved {
    fn set(&self, shards: BTreeSet<u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shards);
    }

    fn get(&self) -> Option<BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns the recorded events once the cluster is at rest.
pub(crate) fn simulate(seed: u64) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(seed, GROUPS.len());
    let (changes, amid, unserved) =
        (Changes::default(), Arc::new(AtomicBool::new(false)), Unserved::default());
    let history = workload::start(&mut cluster, LOAD, &changes);
    let ballast = ballast::start(&mut cluster, LOAD.clients, &changes);
    cluster.sim.client("resharding", run(changes.clone(), amid.clone(), unserved.clone()));

    cluster.run("the change", || amid.load(Ordering::Relaxed), Duration::from_mins(1))?;
    let from = cluster.sim.elapsed();
    eprintln!("{from:?}: {GROUPS:?} are apart");
    between_groups(&cluster, turmoil::Sim::partition);
    cluster.run_for(APART)?;
    let until = cluster.sim.elapsed();
    eprintln!("{until:?}: {GROUPS:?} reach each other");
    between_groups(&cluster, turmoil::Sim::repair);

    changes.enough();
    cluster.run("the clients' last calls", || history.is_complete(), Duration::from_mins(1))?;
    cluster.run("coming to rest", || changes.are_over(), Duration::from_mins(5))?;

    let mut events = history.events();
    let unserved = unserved.get().context("nobody looked what is frozen")?;
    judge(&events, &unserved, from..until)?;
    events.extend(ballast.events());
    Ok(events)
}

fn between_groups(cluster: &Cluster, act: impl Fn(&turmoil::Sim<'static>, String, String)) {
    let [source, target] = GROUPS.map(servers_of);
    for source in source {
        for target in target.clone() {
            act(&cluster.sim, server_name(source), server_name(target));
        }
    }
}

/// Has the target join, reports when moves are under way, and determines the shards that no group
/// can serve while it is apart.
async fn run(changes: Changes, amid: Arc<AtomicBool>, unserved: Unserved) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    let [source, target] = GROUPS;
    tokio::time::sleep(QUIET).await;
    let joining = v1::JoinRequest { groups: vec![target as u32], ..Default::default() };
    let moves = loop {
        tokio::time::sleep(PAUSE).await;
        let Some(mut manager) = manager(&dial, 0) else { continue };
        if let Ok(Ok(joined)) = tokio::time::timeout(TIMEOUT, manager.join(joining.clone())).await {
            break joined.into_inner().moves;
        }
    };
    let shards: BTreeSet<u32> = moves.iter().map(|pending| pending.shard).collect();
    eprintln!("{:?}: these shards move: {shards:?}", turmoil::elapsed());
    // The first shards are there by then, or on their way.
    let there = 1 + random_below((shards.len() as u64 / 2).max(1)) as usize;
    while shards_of(&dial, target).await.map_or(0, |shards| shards.len()) < there {
        tokio::time::sleep(LOOK).await;
    }
    amid.store(true, Ordering::Relaxed);

    // A shard that the source has frozen by now stays so until it reaches the target.
    tokio::time::sleep(APART / 2).await;
    let of_state = |shards: Vec<v1::ShardStatus>, state| -> BTreeSet<u32> {
        shards.into_iter().filter(|shard| shard.state() == state).map(|shard| shard.shard).collect()
    };
    let (frozen, arrived) = loop {
        if let (Ok(left), Ok(come)) = (shards_of(&dial, source).await, shards_of(&dial, target).await) {
            break (of_state(left, State::Frozen), of_state(come, State::Served));
        }
        tokio::time::sleep(PAUSE).await;
    };
    eprintln!("{:?}: frozen: {frozen:?}, arrived: {arrived:?}", turmoil::elapsed());
    if arrived == shards {
        return Err("all shards had moved before the groups were apart".into());
    }
    unserved.set(&frozen - &arrived);
    while !changes.are_enough() {
        tokio::time::sleep(PAUSE).await;
    }
    come_to_rest(&dial, GROUPS.len(), &changes).await;
    Ok(())
}

/// Checks that no call fails except on a shard that the source froze; all others are served all the time.
fn judge(events: &[Event], unserved: &BTreeSet<u32>, apart: Range<Duration>) -> anyhow::Result<()> {
    ensure!(unserved.len() <= MOST_FROZEN, "{} shards are frozen: {unserved:?}", unserved.len());
    let apart = apart.start.as_nanos() as u64..apart.end.as_nanos() as u64;
    let (mut called, mut served) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        let shard = shard_of(&event.key)?;
        called.insert(shard);
        if event.outcome == Outcome::Ok {
            let within = |ns: u64| apart.contains(&ns);
            if within(event.call_ns) && event.return_ns.is_some_and(within) {
                served.insert(shard);
            }
        } else if !unserved.contains(&shard) || event.call_ns >= apart.end {
            bail!("a call on shard {shard} failed, which isn't frozen: {event:?}");
        }
    }
    let failing: Vec<_> =
        called.iter().filter(|shard| !served.contains(*shard) && !unserved.contains(*shard)).collect();
    ensure!(failing.is_empty(), "shards that nobody called, or nobody served: {failing:?}");
    ensure!(called.len() > SHARDS as usize / 2, "only the shards {called:?} were called");
    Ok(())
}
