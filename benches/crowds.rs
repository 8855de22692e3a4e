//! Crowds: sessions of thousands of clerks in each shard, connections that come and go, a clerk for each
//! request, and ten thousand shards. Nothing fails, or the benchmark ends. One JSON object per measurement
//! on standard output.
//!
//! `cargo bench -p skv-benches --bench crowds -- sessions`, or `connections`, `scripts`, `shards`; all of
//! them without a name.

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use skv_client::Clerk;
use skv_process::{
    Cluster, Settings, a_key_of_each, connect, eventually_within, percentile, write_everywhere,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The time limit of a change of thousands of shards.
const NEVER: Duration = Duration::from_mins(20);
/// The pause between two calls of the clerk whose calls are measured beside a crowd.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() {
    skv_listen::raise_limit();
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    if is_wanted("sessions") {
        sessions(2000, 240).await;
    }
    if is_wanted("connections") {
        connections(9900, 3).await;
    }
    if is_wanted("scripts") {
        scripts(10_000).await;
    }
    if is_wanted("shards") {
        shards(10_000).await;
    }
}

/// Returns a group that has all shards, and another one that can join it.
fn one_of_two(shards: u32) -> Settings {
    Settings { groups: 2, first_groups: Some(1), shards, server_flags: Vec::new(), ..Settings::default() }
}

/// Measures sessions of each clerk in each shard: their memory, a snapshot and a start with them, and how
/// they move.
async fn sessions(clerks: usize, shards: u32) {
    let mut cluster = Cluster::start(one_of_two(shards)).await;
    cluster.founded(2).await;
    let keys = a_key_of_each(shards);
    let empty = resident(&cluster);
    let clerks: Vec<Clerk> = (0..clerks).map(|_| cluster.clerk()).collect();
    let writes = timed(write_everywhere(&clerks, &keys)).await;
    let all = cluster.sessions(2).await.iter().sum::<u64>();
    assert_eq!(all, clerks.len() as u64 * u64::from(shards));
    let full = resident(&cluster);
    // The second group has none of them yet.
    let per_session: Vec<f64> = full[..3]
        .iter()
        .zip(&empty)
        .map(|(full, empty)| full.saturating_sub(*empty) as f64 / all as f64)
        .collect();
    let leader = cluster.leader(0).await;
    let snapshot = timed(cluster.servers[leader].take_snapshot()).await;
    eprintln!("{all} sessions: written in {writes:.0} ms, snapshot in {snapshot:.0} ms");

    cluster.kill_all();
    cluster.manager.start();
    cluster.start_servers();
    let ready = timed(cluster.ready()).await;
    let again = timed(write_everywhere(&clerks, &keys[..1])).await;

    let (moves, beside) = join(&cluster, shards).await;
    // The clerk whose puts were measured beside the move has one, too.
    assert_eq!(cluster.sessions(2).await.iter().sum::<u64>(), all + 1);
    write_everywhere(&clerks, &keys[..1]).await;
    report(&json!({
        "measured": "sessions of each clerk in each shard",
        "clerks": clerks.len(), "shards": shards, "sessions": all, "writes_ms": writes,
        "resident_bytes_per_session": per_session, "snapshot_ms": snapshot,
        "start_of_all_to_ready_ms": ready, "then_a_put_of_each_clerk_ms": again,
        "half_of_the_shards_move_ms": moves, "puts_beside_ms": beside,
    }));
}

/// Measures connections that are opened together and closed again, round after round.
async fn connections(count: usize, rounds: usize) {
    let cluster = Cluster::start(Settings { server_flags: Vec::new(), ..Settings::default() }).await;
    let server = &cluster.servers[cluster.leader(0).await];
    let clerk = cluster.clerk();
    clerk.put("beside", "v").await.expect("a put");
    for round in 1..=rounds {
        let before = server.process.resident();
        let beside = Beside::start(clerk.clone());
        let began = Instant::now();
        let open = connect(&server.client_address, count).await;
        let opened = millis(began);
        let with = server.process.resident();
        drop(open);
        eventually_within(NEVER, "the connections are closed", || async {
            (server.metric("skv_connections{listener=\"client\"}").await? < 10.0).then_some(())
        })
        .await;
        report(&json!({
            "measured": "connections that come and go", "round": round, "connections": count,
            "opened_ms": opened, "resident_bytes_before": before, "resident_bytes_after": server.process.resident(),
            "resident_bytes_per_connection": with.saturating_sub(before) as f64 / count as f64,
            "puts_beside_ms": beside.finish().await,
        }));
    }
    let refused = server.metric("skv_connections_refused_total{listener=\"client\"}").await;
    assert_eq!(refused, Some(0.0));
}

/// Measures puts each of which has a clerk of its own.
async fn scripts(count: usize) {
    let cluster = Cluster::start(Settings { server_flags: Vec::new(), ..Settings::default() }).await;
    let before = resident(&cluster);
    let began = Instant::now();
    let mut times = cluster.run_scripts(count).await;
    let took = began.elapsed();
    report(&json!({
        "measured": "a clerk for each put", "clerks": count,
        "per_second": count as f64 / took.as_secs_f64(),
        "p50_ms": percentile(&mut times, 50), "p99_ms": percentile(&mut times, 99), "max_ms": percentile(&mut times, 100),
        "sessions": cluster.sessions(1).await,
        "resident_bytes_before": before, "resident_bytes_after": resident(&cluster),
    }));
}

/// Measures a store of many shards: how it starts, what it takes, and how half of the shards move.
async fn shards(count: u32) {
    let began = Instant::now();
    let mut cluster = Cluster::start(one_of_two(count)).await;
    cluster.founded(2).await;
    let founded = millis(began);
    let (servers, manager) = (resident(&cluster), cluster.manager.resident());
    let map = cluster.shard_map().await.expect("there is a map").encoded_len();
    let clerk = cluster.clerk();
    clerk.put("before", "v").await.expect("a put");

    cluster.kill_all();
    cluster.manager.start();
    cluster.start_servers();
    let ready = timed(cluster.ready()).await;
    let (moves, beside) = join(&cluster, count).await;
    let cpu = |process: &skv_process::Process| process.cpu_time().as_millis() as u64;
    report(&json!({
        "measured": "many shards", "shards": count, "new_store_to_ready_ms": founded,
        "start_of_all_to_ready_ms": ready, "half_of_the_shards_move_ms": moves, "puts_beside_ms": beside,
        "map_bytes_before": map,
        "map_bytes_after": cluster.shard_map().await.expect("there is a map").encoded_len(),
        "resident_bytes": servers, "resident_bytes_of_the_manager": [manager, cluster.manager.resident()],
        "processor_ms_of_the_manager": cpu(&cluster.manager),
        "processor_ms_of_servers": cluster.servers.iter().map(|server| cpu(&server.process)).collect::<Vec<_>>(),
    }));
}

/// Has the second group take half of the shards. Returns the time of that, and those of puts beside it, in
/// ms.
async fn join(cluster: &Cluster, shards: u32) -> (f64, Value) {
    let clerk = cluster.clerk();
    clerk.put("beside", "v").await.expect("a put");
    let beside = Beside::start(clerk);
    let began = Instant::now();
    cluster.changes().join(&[1]).await;
    eventually_within(NEVER, "half of the shards have moved", || async {
        let map = cluster.shard_map().await?;
        let there = map.ranges.iter().filter(|range| range.group == 1).map(|range| range.count).sum::<u32>();
        (map.moving == 0 && there == shards / 2).then_some(())
    })
    .await;
    let moves = millis(began);
    eprintln!("{} shards moved in {moves:.0} ms", shards / 2);
    (moves, beside.finish().await)
}

/// Puts, one after the other, while something else goes on.
struct Beside {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Vec<f64>>,
}

impl Beside {
    fn start(clerk: Clerk) -> Beside {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            while stopped.try_recv().is_err() {
                let began = Instant::now();
                clerk.put("beside", "v").await.expect("no put fails");
                times.push(millis(began));
                tokio::time::sleep(PAUSE).await;
            }
            times
        });
        Beside { stop, task }
    }

    async fn finish(self) -> Value {
        // Its receiver is in a task that runs until then.
        let _ = self.stop.send(());
        let mut times = self.task.await.expect("no put fails");
        json!({
            "puts": times.len(), "p50": percentile(&mut times, 50), "p99": percentile(&mut times, 99),
            "max": percentile(&mut times, 100),
        })
    }
}

fn resident(cluster: &Cluster) -> Vec<u64> {
    cluster.servers.iter().map(|server| server.process.resident()).collect()
}

async fn timed(work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    millis(began)
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn report(measured: &Value) {
    println!("{measured}");
}
