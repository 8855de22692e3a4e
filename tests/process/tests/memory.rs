//! Servers near the limit of their memory: the kernel ends none of them, and nothing acknowledged is
//! lost.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as Data;
use futures::StreamExt as _;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_client::{Clerk, Error};
use skv_process::{Cgroup, Cluster, Settings, eventually};
use skv_proto::Error as Reason;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::Request;
use tonic::transport::Channel;

const LIMIT: u64 = 200 << 20;
/// Less than the data of the test takes.
const LOWER: u64 = 128 << 20;
const CLERKS: u64 = 4;
/// Puts and deletes of each clerk after the first refusal.
const NEAR_THE_LIMIT: u32 = 400;
/// The time after which a server takes no more of a stream.
const STILL: Duration = Duration::from_secs(1);

/// The length of each key's value by the last acknowledged write; `None` where it isn't known.
type Known = Arc<Mutex<BTreeMap<String, Option<usize>>>>;

/// A cluster whose servers are in cgroups of their own, if this system lets tests make them; else each
/// knows its limit by an option.
fn limited(cgroups: &[Cgroup]) -> Cluster {
    let settings = Settings::default().server_flag("--snapshot-log-bytes", 16 << 20);
    let mut cluster = Cluster::new(&settings);
    for (index, server) in cluster.servers.iter_mut().enumerate() {
        match cgroups.get(index) {
            Some(cgroup) => server.process.join(cgroup),
            None => server.process.set_arguments(|line| line.push(format!("--memory={LIMIT}"))),
        }
    }
    cluster
}

fn hasty(cluster: &Cluster) -> Clerk {
    let mut options = cluster.clerk_options();
    options.deadline = Duration::from_secs(1);
    Clerk::connect(options).expect("the options are right")
}

/// Puts values of all lengths under keys of its own, until one is refused; then goes on with puts and
/// deletes.
async fn work(clerk: Clerk, number: u64, known: Known) {
    let mut rng = SmallRng::seed_from_u64(number);
    let (mut next, mut full, mut after) = (0, false, 0);
    while after < NEAR_THE_LIMIT {
        let delete = full && rng.random_bool(0.4);
        let key = format!("{number}-{}", if full { rng.random_range(0..next) } else { next });
        let length = if delete { 0 } else { 1 << rng.random_range(4..18) };
        let before = known.lock().insert(key.clone(), None).flatten();
        let result = if delete {
            clerk.delete(key.clone()).await.map(drop)
        } else {
            clerk.put(key.clone(), vec![b'v'; length]).await.map(drop)
        };
        match result {
            Ok(()) => {
                known.lock().insert(key, Some(length));
            }
            Err(Error::Refused(reason)) => {
                known.lock().insert(key, before);
                full |= matches!(reason, Reason::MemoryFull(_));
            }
            // It may have been applied; the key tells nothing any more.
            Err(_) => {}
        }
        next += u32::from(!full);
        after += u32::from(full);
        assert!(next < 200_000, "nothing is ever refused");
    }
}

async fn assert_all_there(cluster: &Cluster, known: &Known) {
    let clerk = cluster.clerk();
    let known = known.lock().clone();
    assert!(known.len() > 500, "only {} keys", known.len());
    for (key, length) in known {
        let value = clerk.get(key.clone()).await.expect("a get").value;
        assert!(length.is_none_or(|length| length == value.len()), "{key}: {length:?}, not {}", value.len());
    }
}

/// Begins a frame of this many MiB, and sends all but the last of them, or until it is refused or the server
/// takes no more. The stream lives until the result is dropped.
async fn begin_frame(address: String, mebibytes: u32) -> impl Sized {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    let mut channel = endpoint.connect().await.expect("the server listens");
    let (sender, pieces) = mpsc::channel::<Vec<u8>>(1);
    let pieces = Data::from_stream(ReceiverStream::new(pieces).map(Ok::<_, Infallible>));
    let request = Request::post(format!("http://{address}/shardedkv.v1.Kv/Pipeline"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(pieces))
        .expect("a request");
    poll_fn(|cx| channel.poll_ready(cx)).await.expect("it is connected");
    let answers = tokio::spawn(channel.call(request));
    let mut header = vec![0];
    header.extend((mebibytes << 20).to_be_bytes());
    let mut sent = Ok(sender.send(header).await);
    for _ in 1..mebibytes {
        if matches!(sent, Ok(Ok(()))) {
            sent = timeout(STILL, sender.send(vec![7; 1 << 20])).await;
        }
    }
    (sender, answers)
}

/// Begins this many frames of this many MiB, each on a connection of its own, at a server with little memory,
/// and checks that it goes on. The name is that of its cgroup.
async fn assert_frames_end_no_server(name: &str, count: usize, mebibytes: u32) {
    let cgroups: Vec<Cgroup> = Cgroup::new(name, LOWER).into_iter().collect();
    let mut cluster = limited(&cgroups);
    cluster.servers[0].process.set_arguments(|line| {
        line.retain(|flag| !flag.starts_with("--memory="));
        line.push(format!("--memory={LOWER}"));
    });
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    let address = cluster.servers[0].client_address.clone();
    let frames = (0..count).map(|_| begin_frame(address.clone(), mebibytes));
    let _begun = futures::future::join_all(frames).await;
    let clerk = cluster.clerk();
    for key in 0..20 {
        clerk.put(format!("{key}"), vec![b'v'; 1 << 16]).await.expect("a put");
    }
    assert!(cluster.servers[0].process.is_running());
    let resident = cluster.servers[0].process.resident();
    assert!(resident < LOWER, "{resident} bytes");
    cluster.kill_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_that_never_come_whole_end_no_server() {
    // They are longer than the room, and refused for that.
    assert_frames_end_no_server("whole", 3, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_of_many_connections_that_wait_for_a_place_end_no_server() {
    // There is a place for one of them at a time.
    assert_frames_end_no_server("waiting", 40, 19).await;
}

/// Waits until the shard manager's map tells this of the group, for the operator.
async fn map_says_full(cluster: &Cluster, full: bool) {
    let what = format!("the map says that the group's memory is full: {full}");
    eventually(&what, || async { (cluster.shard_map().await?.groups[0].memory_full == full).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn near_the_limit_no_server_is_killed_and_nothing_acknowledged_is_lost() {
    let cgroups: Vec<Cgroup> = (0..3).map_while(|index| Cgroup::new(&format!("{index}"), LIMIT)).collect();
    let mut cluster = limited(&cgroups);
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    let known = Known::default();
    let mut clerks = JoinSet::new();
    for number in 0..CLERKS {
        clerks.spawn(work(hasty(&cluster), number, known.clone()));
    }
    clerks.join_all().await;
    assert!(cluster.servers.iter_mut().all(|server| server.process.is_running()));
    for server in &cluster.servers {
        let (resident, limit) =
            (server.metric("skv_memory_resident_bytes").await, server.metric("skv_memory_limit_bytes").await);
        assert_eq!(limit, Some(LIMIT as f64));
        assert!(resident < limit, "{resident:?}");
    }
    assert_all_there(&cluster, &known).await;

    // The limit is lowered below the data.
    cluster.kill_all();
    for server in &mut cluster.servers {
        server.process.set_arguments(|line| {
            line.retain(|flag| !flag.starts_with("--memory="));
            line.push(format!("--memory={LOWER}"));
        });
    }
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    assert_all_there(&cluster, &known).await;
    let refused = hasty(&cluster).put("new", vec![b'v'; 1 << 17]).await;
    assert!(matches!(refused, Err(Error::Refused(Reason::MemoryFull(_)))), "{refused:?}");
    map_says_full(&cluster, true).await;
    let clerk = cluster.clerk();
    let there = |(key, length): (String, Option<usize>)| length.filter(|length| *length > 0).map(|_| key);
    let keys: Vec<String> = known.lock().clone().into_iter().filter_map(there).collect();
    for key in keys {
        assert!(clerk.delete(key).await.expect("a delete").found);
    }
    clerk.put("new", vec![b'v'; 1 << 17]).await.expect("there is room");
    map_says_full(&cluster, false).await;
    assert!(cluster.servers.iter_mut().all(|server| server.process.is_running()));
    cluster.kill_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_store_in_memory_leaves_room_for_data() {
    let settings = Settings { memory_only: true, ..Settings::default() };
    let mut cluster = Cluster::start(settings.server_flag("--memory", LOWER)).await;
    let clerk = cluster.clerk();
    // Twice the room for data, of which nothing stays.
    for number in 0..400 {
        clerk.put("key", vec![b'v'; 256 << 10]).await.unwrap_or_else(|error| panic!("put {number}: {error}"));
        assert!(clerk.delete("key").await.expect("a delete").found);
    }
    assert!(cluster.servers.iter_mut().all(|server| server.process.is_running()));
}
