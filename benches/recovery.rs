//! The time without writes after the kill of a leader, the memory per key, and the start time of a
//! full server. One JSON object per measurement on standard output.
//!
//! `cargo bench -p skv-benches`

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::json;
use skv_client::Clerk;
use skv_process::{Cluster, Settings, percentile};
use tokio::time::Instant;

const KILLS: usize = 20;
const KEYS: usize = 1_000_000;
const VALUE_BYTES: usize = 64;
const IN_FLIGHT: usize = 512;

#[tokio::main]
async fn main() {
    leader_killed().await;
    a_million_keys().await;
}

fn like_a_user() -> Settings {
    Settings { server_flags: Vec::new(), ..Settings::default() }
}

/// Measures the time from the kill of the leader to the answer of a write that began after it.
async fn leader_killed() {
    let mut cluster = Cluster::start(like_a_user()).await;
    let clerk = cluster.clerk();
    let mut away = Vec::with_capacity(KILLS);
    for kill in 0..KILLS {
        clerk.put("k", "before").await.expect("a put");
        let leader = cluster.leader(0).await;
        cluster.servers[leader].process.kill();
        let killed = Instant::now();
        clerk.put("k", format!("{kill}")).await.expect("a put");
        away.push(millis(killed.elapsed()));
        cluster.servers[leader].process.start();
        cluster.ready().await;
        eprintln!("kill {} of {KILLS}: {:.0} ms", kill + 1, away[kill]);
    }
    let mut at = |percent| percentile(&mut away, percent);
    println!(
        "{}",
        json!({
            "measured": "leader killed to next acknowledged write, ms",
            "kills": KILLS, "p50": at(50), "p99": at(99), "max": at(100),
        })
    );
}

/// Measures the memory beyond keys and values, and the start of servers that were killed with all of it.
async fn a_million_keys() {
    let mut cluster = Cluster::start(like_a_user()).await;
    let empty = resident(&cluster);
    load(&cluster.clerk()).await;
    let last = cluster.servers[cluster.leader(0).await].replica().await.and_then(|r| r.applied);
    for server in &cluster.servers {
        let caught_up = || async {
            let replica = server.replica().await?;
            (replica.applied.as_ref()?.index >= last.as_ref()?.index).then_some(replica)
        };
        let replica = skv_process::eventually("everything is applied", caught_up).await;
        assert_eq!(replica.keys, KEYS as u64);
    }
    let data: usize = (0..KEYS).map(|number| key(number).len() + VALUE_BYTES).sum();
    let per_key = |(full, empty): (u64, u64)| (full as f64 - empty as f64 - data as f64) / KEYS as f64;
    let overhead: Vec<f64> = resident(&cluster).into_iter().zip(empty).map(per_key).collect();

    cluster.kill_all();
    cluster.manager.start();
    let started = Instant::now();
    cluster.start_servers();
    cluster.ready().await;
    println!(
        "{}",
        json!({
            "measured": "one million keys in a group of three",
            "value_bytes": VALUE_BYTES,
            "bytes_per_key_beyond_key_and_value": overhead,
            "restart_of_all_to_ready_ms": millis(started.elapsed()),
        })
    );
}

async fn load(clerk: &Clerk) {
    let puts = stream::iter(0..KEYS).map(|number| clerk.put(key(number), vec![b'v'; VALUE_BYTES]));
    let mut puts = puts.buffer_unordered(IN_FLIGHT).enumerate();
    while let Some((done, put)) = puts.next().await {
        put.expect("a put");
        if (done + 1) % (KEYS / 10) == 0 {
            eprintln!("{} of {KEYS} keys", done + 1);
        }
    }
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Returns the bytes of memory that each server has.
fn resident(cluster: &Cluster) -> Vec<u64> {
    cluster.servers.iter().map(|server| server.process.resident()).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
