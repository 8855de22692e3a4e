//! The cost of an operation for the servers, over 1 to 8 groups that each have the same load. If it
//! stays the same, throughput grows with the machines that groups are spread over; one machine
//! can't show that growth itself. One JSON object per measurement on standard output.
//!
//! `cargo bench -p skv-benches --bench groups`

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use skv_client::Clerk;
use skv_process::{Cluster, Settings, percentile};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

const GROUPS: [u32; 4] = [1, 2, 4, 8];
/// The number of rounds. Sizes take turns, so that a bad minute of the machine doesn't affect one size alone.
const ROUNDS: usize = 5;
/// The number of writers in each group, each of which calls at a steady pace.
const WRITERS: u32 = 16;
const WARM: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);
/// The number of keys in each group.
const KEYS: u32 = 1000;
const VALUE_BYTES: usize = 64;

#[tokio::main]
async fn main() {
    // The pace leaves two processors time with eight groups: a server that waited for a processor
    // would find more to do at once, and each operation would cost less.
    over_groups(1, Duration::from_millis(40)).await;
    over_groups(3, Duration::from_millis(160)).await;
}

/// Measures the cost over all numbers of groups, with this number of replicas each, a server for
/// each replica, and writers of this pace.
async fn over_groups(replicas: u32, pace: Duration) {
    let mut cost = vec![Vec::new(); GROUPS.len()];
    let mut rates = cost.clone();
    for round in 0..ROUNDS {
        for (size, &groups) in GROUPS.iter().enumerate() {
            let (micros, rate) = measure(groups, replicas, pace).await;
            eprintln!(
                "round {} of {ROUNDS}: {groups} groups of {replicas}: {micros:.1} us per operation, {rate:.0} operations/s",
                round + 1
            );
            cost[size].push(micros);
            rates[size].push(rate);
        }
    }
    for ((groups, mut cost), mut rates) in GROUPS.into_iter().zip(cost).zip(rates) {
        println!(
            "{}",
            json!({
                "measured": "processor time of all servers per operation, us",
                "groups": groups, "replicas": replicas, "rounds": ROUNDS,
                "operations_per_second": percentile(&mut rates, 50),
                "p50": percentile(&mut cost, 50), "min": percentile(&mut cost, 0), "max": percentile(&mut cost, 100),
            })
        );
    }
}

/// Returns microseconds of processor time per operation, and operations per second, of a new store.
async fn measure(groups: u32, replicas: u32, pace: Duration) -> (f64, f64) {
    // Integer keys: key n is in group n mod groups.
    let manager_flags = vec!["--hash=integer".to_owned(), "--policy=modulo".to_owned()];
    let settings = Settings {
        groups,
        replicas,
        shards: groups,
        manager_flags,
        server_flags: Vec::new(),
        ..Settings::default()
    };
    let cluster = Cluster::start(settings).await;
    let answered = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for group in 0..groups {
        // Each group has its own clerk, so that no two groups share messages.
        let clerk = cluster.clerk();
        for writer in 0..WRITERS {
            let keys = (writer * KEYS / WRITERS..).map(move |index| index % KEYS * groups + group);
            writers.spawn(call_forever(clerk.clone(), keys, pace, Arc::clone(&answered)));
        }
    }
    tokio::time::sleep(WARM).await;
    let read = || (cpu_time(&cluster), answered.load(Ordering::Relaxed), Instant::now());
    let (cpu_before, answered_before, began) = read();
    tokio::time::sleep(MEASURED).await;
    let (cpu_after, answered_after, ended) = read();
    writers.shutdown().await;
    let operations = (answered_after - answered_before) as f64;
    let micros = cpu_after.saturating_sub(cpu_before).as_secs_f64() * 1e6 / operations;
    (micros, operations / (ended - began).as_secs_f64())
}

fn cpu_time(cluster: &Cluster) -> Duration {
    cluster.servers.iter().map(|server| server.process.cpu_time()).sum()
}

/// Sends puts and gets in turn.
async fn call_forever(
    clerk: Clerk,
    keys: impl Iterator<Item = u32>,
    pace: Duration,
    answered: Arc<AtomicU64>,
) {
    let mut turn = tokio::time::interval(pace);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for key in keys {
        turn.tick().await;
        clerk.put(key.to_string(), vec![b'v'; VALUE_BYTES]).await.expect("no call fails");
        turn.tick().await;
        clerk.get(key.to_string()).await.expect("no call fails");
        answered.fetch_add(2, Ordering::Relaxed);
    }
}
