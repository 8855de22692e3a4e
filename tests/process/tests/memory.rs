//! Servers near the limit of their memory: the kernel ends none of them, and nothing acknowledged is
//! lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_client::{Clerk, Error};
use skv_process::{Cgroup, Cluster, Settings};
use skv_proto::Error as Reason;
use tokio::task::JoinSet;

const LIMIT: u64 = 200 << 20;
/// Less than the data of the test takes.
const LOWER: u64 = 128 << 20;
const CLERKS: u64 = 4;
/// Puts and deletes of each clerk after the first refusal.
const NEAR_THE_LIMIT: u32 = 400;

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
    let clerk = cluster.clerk();
    let there = |(key, length): (String, Option<usize>)| length.filter(|length| *length > 0).map(|_| key);
    let keys: Vec<String> = known.lock().clone().into_iter().filter_map(there).collect();
    for key in keys {
        assert!(clerk.delete(key).await.expect("a delete").found);
    }
    clerk.put("new", vec![b'v'; 1 << 17]).await.expect("there is room");
    assert!(cluster.servers.iter_mut().all(|server| server.process.is_running()));
    cluster.kill_all();
}
