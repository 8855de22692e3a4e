//! The work of a group whose memory is half full, nearly full and full, and whose disks are full: what
//! goes on, and how fast the rest is refused. One JSON object per measurement on standard output.
//!
//! `cargo bench -p skv-benches --bench limits`

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use skv_client::{Clerk, Error};
use skv_process::{Cluster, Server, Settings, percentile};
use skv_proto::Error as Reason;
use skv_proto::v1::PutRequest;
use skv_proto::v1::kv_client::KvClient;
use tokio::time::Instant;
use tonic::transport::Channel;

const LIMIT: u64 = 512 << 20;
const VALUE_BYTES: usize = 4 << 10;
const IN_FLIGHT: usize = 64;
/// The time for which each kind of call is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// The number of refusals that are measured, one after the other.
const REFUSALS: usize = 200;
/// The number of keys that are put between two looks at the memory.
const STEP: usize = 1000;

#[tokio::main]
async fn main() {
    memory().await;
    disk().await;
}

/// Measures a group whose replicas all come near the limit of their memory.
async fn memory() {
    let settings = Settings { server_flags: Vec::new(), ..Settings::default() };
    let cluster = Cluster::start(settings.server_flag("--memory", LIMIT)).await;
    let clerk = hasty(&cluster);
    let mut keys = 0;
    for (name, part) in [("half full", 0.5), ("nearly full", 0.97)] {
        while used(&cluster).await < part {
            assert!(fill(&clerk, keys).await, "full before it should be");
            keys += STEP;
        }
        report("memory", name, &cluster, work(&clerk, keys, true).await).await;
    }
    while fill(&clerk, keys).await {
        keys += STEP;
    }
    let mut worked = work(&clerk, keys, true).await;
    worked["refusal_ms"] = refusals(&cluster, |reason| matches!(reason, Reason::MemoryFull(_))).await;
    report("memory", "full", &cluster, worked).await;
}

/// Measures a group whose disks are all full.
async fn disk() {
    let mut cluster = Cluster::new(&Settings { server_flags: Vec::new(), ..Settings::default() });
    let faults: Vec<PathBuf> =
        (0..3).map(|index| cluster.directory().join(format!("faults-{index}"))).collect();
    for (server, faults) in cluster.servers.iter_mut().zip(&faults) {
        server.process.set_arguments(|line| line.push(format!("--disk-faults={}", faults.display())));
    }
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    let clerk = hasty(&cluster);
    assert!(fill(&clerk, 0).await, "nothing is full yet");
    report("disk", "with room", &cluster, work(&clerk, STEP, true).await).await;
    for faults in &faults {
        fs::write(faults, "full").expect("a file can be written");
    }
    let mut keys = STEP;
    while fill(&clerk, keys).await {
        keys += STEP;
    }
    let mut worked = work(&clerk, STEP, false).await;
    worked["refusal_ms"] = refusals(&cluster, |reason| matches!(reason, Reason::DiskFull(_))).await;
    report("disk", "full", &cluster, worked).await;
}

/// Returns a clerk that doesn't wait until there is room again.
fn hasty(cluster: &Cluster) -> Clerk {
    let mut options = cluster.clerk_options();
    options.deadline = Duration::from_secs(2);
    Clerk::connect(options).expect("the options are right")
}

/// Returns the part of the memory for data that is used, of the server that has used most.
async fn used(cluster: &Cluster) -> f64 {
    let mut most: f64 = 0.0;
    for server in &cluster.servers {
        let metric = async |name| server.metric(name).await.expect("a metric");
        most = most.max(metric("skv_memory_used_bytes").await / metric("skv_memory_edge_bytes").await);
    }
    most
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Puts more keys; returns false if one is refused because something is full.
async fn fill(clerk: &Clerk, first: usize) -> bool {
    let puts = (first..first + STEP).map(|number| clerk.put(key(number), vec![b'v'; VALUE_BYTES]));
    let puts: Vec<_> = stream::iter(puts).buffer_unordered(IN_FLIGHT).collect().await;
    let is_full = |reason: &Reason| matches!(reason, Reason::MemoryFull(_) | Reason::DiskFull(_));
    puts.into_iter().all(|put| match put {
        Ok(_) => true,
        Err(Error::Refused(reason)) if is_full(&reason) => false,
        // Servers whose disks are full find out one after the other.
        Err(error) => {
            eprintln!("{error}");
            true
        }
    })
}

/// Measures gets, and puts in the place of values of the same length if those are `taken`.
async fn work(clerk: &Clerk, keys: usize, taken: bool) -> Value {
    let gets =
        measured(|number| async move { clerk.get(key(number % keys.min(STEP))).await.map(drop) }).await;
    let mut worked = json!({ "gets": gets });
    if taken {
        worked["puts_of_the_same_length"] = measured(|number| async move {
            clerk.put(key(number % keys.min(STEP)), vec![b'w'; VALUE_BYTES]).await.map(drop)
        })
        .await;
    }
    worked
}

/// Makes calls for some time, many at once. While memory is full, a put of the same length may be refused,
/// too: for what its session keeps until others are acknowledged, or for a value that a snapshot still needs.
async fn measured<F: Future<Output = Result<(), Error>>>(call: impl Fn(usize) -> F) -> Value {
    let (began, mut times, mut refused) = (Instant::now(), Vec::new(), 0);
    let calls = (0..).take_while(|_| began.elapsed() < MEASURED).map(|number| {
        let call = call(number);
        async move {
            let began = Instant::now();
            let result = call.await;
            (began.elapsed().as_secs_f64() * 1e3, result)
        }
    });
    let mut calls = stream::iter(calls).buffer_unordered(IN_FLIGHT);
    while let Some((time, result)) = calls.next().await {
        match result {
            Ok(()) => times.push(time),
            Err(Error::Refused(_)) => refused += 1,
            Err(error) => panic!("a call failed: {error}"),
        }
    }
    if times.is_empty() {
        return json!({ "refused": refused });
    }
    json!({
        "refused": refused, "per_second": times.len() as f64 / began.elapsed().as_secs_f64(),
        "p50_ms": percentile(&mut times, 50), "p99_ms": percentile(&mut times, 99),
    })
}

/// Measures the time in which the leader refuses a put of a new key.
async fn refusals(cluster: &Cluster, is_right: impl Fn(&Reason) -> bool) -> Value {
    let server: &Server = &cluster.servers[cluster.leader(0).await];
    let connected = KvClient::connect(format!("http://{}", server.client_address)).await;
    let mut kv: KvClient<Channel> = connected.expect("the server listens");
    let mut times = Vec::new();
    for number in 0..REFUSALS {
        let request = PutRequest {
            key: format!("new-{number}").into(),
            value: vec![b'v'; VALUE_BYTES].into(),
            ..PutRequest::default()
        };
        let began = Instant::now();
        let refused = kv.put(request).await.expect_err("it is full");
        times.push(began.elapsed().as_secs_f64() * 1e3);
        let reason = Reason::from_status(&refused).expect("a reason");
        assert!(is_right(&reason), "{reason}");
    }
    json!({ "p50": percentile(&mut times, 50), "p99": percentile(&mut times, 99) })
}

async fn report(what: &str, state: &str, cluster: &Cluster, mut worked: Value) {
    worked["measured"] = format!("{what}: {state}").into();
    worked["used"] = used(cluster).await.into();
    worked["resident_bytes"] =
        cluster.servers.iter().map(|server| server.process.resident()).collect::<Vec<_>>().into();
    println!("{worked}");
}
