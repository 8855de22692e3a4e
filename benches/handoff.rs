//! The cost of a move for users of a store: the time for which no group serves the shard, the
//! effect on another shard of the same group, and the speed of the bytes. One JSON object per
//! measurement on standard output.
//!
//! `cargo bench -p skv-benches --bench handoff`

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::json;
use skv_client::Clerk;
use skv_process::{Cluster, Settings, keys_of, percentile};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

const MIB: usize = 1 << 20;
const SHARDS: u32 = 4;
/// The shard that moves, between g0 and g1, and one that stays in g0.
const MOVING: u32 = 0;
const STAYING: u32 = 2;
const IN_FLIGHT: usize = 16;
/// The bytes of each value of the shard that moves. Its writer replaces them so fast that, while 64
/// MiB are copied, many times more changes come than may go along with the last step.
const VALUE: usize = 16 << 10;
/// The bytes of each value of the shard that stays.
const SMALL: usize = 1 << 10;
/// The pause between two writes of one writer: the processors have time left when nothing moves.
const PAUSE: Duration = Duration::from_millis(5);
/// The pause in which the remains of a move are cleared away.
const REST: Duration = Duration::from_secs(1);
/// The time for which the quiet store is measured before each move: a machine's speed varies over time.
const QUIET: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    // The numbers of moves are chosen for a thousand calls beside them, of which ten are beyond p99.
    for (mib, replicas, moves) in [(1, 3, 60), (8, 3, 24), (64, 3, 12), (64, 1, 4), (256, 1, 4), (1024, 1, 4)]
    {
        unserved(mib, replicas, moves).await;
    }
    throughput().await;
}

async fn two_groups(replicas: u32, transfer: Option<u64>) -> Cluster {
    let server_flags = transfer.map(|limit| format!("--transfer-bytes-per-second={limit}"));
    let settings = Settings {
        groups: 2,
        replicas,
        shards: SHARDS,
        server_flags: server_flags.into_iter().collect(),
        ..Settings::default()
    };
    Cluster::start(settings).await
}

/// Moves a shard of this size to and fro while it and another one are written, and measures both.
async fn unserved(mib: usize, replicas: u32, moves: usize) {
    let cluster = two_groups(replicas, None).await;
    fill(&cluster.clerk(), mib, VALUE).await;
    let moving = Writer::start(&cluster, keys_of(MOVING, SHARDS).take(mib * MIB / VALUE), VALUE);
    let staying = Writer::start(&cluster, keys_of(STAYING, SHARDS).take(100), SMALL);
    let (mut worst, mut unserved) = (Vec::new(), Vec::new());
    let (mut quiet, mut during) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for number in 0..moves {
        tokio::time::sleep(REST).await;
        drop((moving.take(), staying.take()));
        tokio::time::sleep(QUIET).await;
        add(&mut quiet, [moving.take(), staying.take()]);
        let before = unserved_ms(&cluster).await;
        cluster.move_shard(MOVING, (number as u32 + 1) % 2).await;
        // The calls that were under way when it arrived count too.
        tokio::time::sleep(4 * PAUSE).await;
        unserved.push(unserved_ms(&cluster).await - before);
        let calls = [moving.take(), staying.take()];
        worst.push(calls[0].iter().copied().fold(0.0, f64::max));
        add(&mut during, calls);
        eprintln!(
            "{mib} MiB, {replicas} replicas: move {} of {moves}: unserved {:.1} ms, longest write {:.1} ms",
            number + 1,
            unserved[number],
            worst[number]
        );
    }
    moving.stop().await;
    staying.stop().await;
    let [moving, staying] = [0, 1].map(|writer| {
        let (quiet, during) = (&mut quiet[writer], &mut during[writer]);
        json!({
            "quiet_p99": percentile(quiet, 99), "during_p99": percentile(during, 99),
            "quiet_calls": quiet.len(), "during_calls": during.len(),
        })
    });
    println!(
        "{}",
        json!({
            "measured": "a shard that moves while it is written, ms",
            "mib": mib, "replicas": replicas, "moves": moves,
            "unserved": { "p50": percentile(&mut unserved.clone(), 50), "p99": percentile(&mut unserved, 99) },
            "longest_write_of_a_move": { "p50": percentile(&mut worst.clone(), 50), "p99": percentile(&mut worst, 99) },
            "moving_shard": moving,
            "other_shard": staying,
        })
    );
}

fn add(all: &mut [Vec<f64>; 2], more: [Vec<f64>; 2]) {
    all.iter_mut().zip(more).for_each(|(all, more)| all.extend(more));
}

/// Returns the time in which no group served a shard, of all moves so far, as the servers report it.
async fn unserved_ms(cluster: &Cluster) -> f64 {
    let mut sum = 0.0;
    for server in &cluster.servers {
        sum += server.metric("skv_handoff_unserved_seconds_sum").await.expect("the sum");
    }
    sum * 1e3
}

/// Moves large values between groups of one, without a limit.
async fn throughput() {
    let mib = 512;
    let cluster = two_groups(1, Some(0)).await;
    fill(&cluster.clerk(), mib, MIB - 100).await;
    let mut rates = Vec::new();
    for number in 0..4 {
        let began = Instant::now();
        cluster.move_shard(MOVING, (number + 1) % 2).await;
        rates.push((mib * MIB) as f64 / began.elapsed().as_secs_f64() / 1e6);
    }
    rates.sort_by(f64::total_cmp);
    println!("{}", json!({ "measured": "a shard of large values, MB/s", "mib": mib, "moves": rates }));
}

async fn fill(clerk: &Clerk, mib: usize, value_bytes: usize) {
    let count = mib * MIB / value_bytes;
    let puts =
        stream::iter(keys_of(MOVING, SHARDS).take(count)).map(|key| clerk.put(key, vec![b'v'; value_bytes]));
    let mut puts = puts.buffer_unordered(IN_FLIGHT);
    while let Some(put) = puts.next().await {
        put.expect("a put");
    }
}

/// Writes keys in turn, one call after the other, and notes the duration of each.
struct Writer {
    stop: Arc<AtomicBool>,
    latencies: Arc<Mutex<Vec<f64>>>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(cluster: &Cluster, keys: impl Iterator<Item = String>, value_bytes: usize) -> Self {
        let (stop, latencies) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (clerk, stopped, noted) = (cluster.clerk(), stop.clone(), latencies.clone());
        let keys: Vec<String> = keys.collect();
        let task = tokio::spawn(async move {
            let mut turn = tokio::time::interval(PAUSE);
            turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for key in keys.iter().cycle() {
                turn.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                clerk.put(key.clone(), vec![b'w'; value_bytes]).await.expect("no call fails");
                noted.lock().expect("nobody panicked").push(began.elapsed().as_secs_f64() * 1e3);
            }
        });
        Writer { stop, latencies, task }
    }

    /// Returns the latencies since the last call, in ms.
    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.latencies.lock().expect("nobody panicked"))
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no call fails");
    }
}
