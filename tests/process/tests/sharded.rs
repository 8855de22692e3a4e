//! The promises of a store of several groups about the shards of each: a group that is gone takes
//! its own keys with it and no others, and clerks that missed changes of the map catch up.

use std::collections::BTreeSet;
use std::time::Duration;

use skv_client::Clerk;
use skv_process::{Clerks, Cluster, Faults, Load, Settings, eventually};
use skv_proto::v1::GetShardIndexRequest;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::shard_status::State;

const KEYS: u32 = 30;
/// The speed of moves: slow enough that one shard is there well before the next.
const SLOW: u32 = 512 << 10;

fn key(index: u32) -> String {
    format!("key-{index}")
}

async fn put_all(clerk: &Clerk, value: &str) {
    for index in 0..KEYS {
        clerk.put(key(index), value.to_owned()).await.expect("a put");
    }
}

async fn assert_all(clerk: &Clerk, value: &str) {
    for index in 0..KEYS {
        assert_eq!(clerk.get(key(index)).await.expect("a get").value, value.as_bytes(), "{}", key(index));
    }
}

/// Makes a clerk that soon gives up.
fn hasty(cluster: &Cluster) -> Clerk {
    let mut options = cluster.clerk_options();
    options.deadline = Duration::from_secs(2);
    Clerk::connect(options).expect("the options are right")
}

fn kill(cluster: &mut Cluster, group: u32) {
    let servers = cluster.servers.iter_mut().filter(|server| server.hosts(group));
    servers.for_each(|server| server.process.kill());
}

/// Returns the keys whose shard a group has, according to the shard manager.
async fn keys_of(cluster: &Cluster, group: u32) -> BTreeSet<u32> {
    let address = format!("http://{}", cluster.manager_address);
    let mut manager = ShardManagerClient::connect(address).await.expect("the manager answers");
    let mut keys = BTreeSet::new();
    for index in 0..KEYS {
        let asked = GetShardIndexRequest { key: key(index).into_bytes().into() };
        let answer = manager.get_shard_index(asked).await.expect("the manager knows").into_inner();
        if answer.group == group {
            keys.insert(index);
        }
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_group_is_gone_exactly_the_keys_of_the_others_answer() {
    let mut cluster = Cluster::start(Settings { groups: 2, ..Settings::default() }).await;
    put_all(&cluster.clerk(), "value").await;
    let alive = keys_of(&cluster, 0).await;
    assert!(!alive.is_empty() && alive.len() < KEYS as usize);
    kill(&mut cluster, 1);
    let clerk = hasty(&cluster);
    let gets = (0..KEYS).map(|index| {
        let clerk = clerk.clone();
        async move { clerk.get(key(index)).await.is_ok().then_some(index) }
    });
    let answered: BTreeSet<u32> = futures::future::join_all(gets).await.into_iter().flatten().collect();
    assert_eq!(answered, alive);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_left_can_be_shut_down_at_once() {
    let mut cluster = Cluster::start(Settings { groups: 2, ..Settings::default() }).await;
    let load = Load::start(&cluster, 6, 8);
    for (leaves, stays) in [(0, 1), (1, 0)] {
        load.recorder.more_acknowledged(100).await;
        cluster.changes().leave(&[leaves]).await;
        cluster.settled(&[0, 12]).await;
        kill(&mut cluster, leaves);
        load.recorder.more_acknowledged(200).await;
        assert_eq!(cluster.group_holdings(stays).await.map(|held| held.count(State::Served)), Some(12));
        cluster.start_servers();
        cluster.changes().join(&[leaves]).await;
        cluster.settled(&[6, 6]).await;
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_missed_changes_catch_up_and_are_as_good_as_the_others() {
    // The log is so small that the missed changes are long gone from it.
    let settings = Settings { groups: 2, ..Settings::default() }.server_flag("--snapshot-log-bytes", 1024);
    let mut cluster = Cluster::start(settings).await;
    put_all(&cluster.clerk(), "before").await;
    for index in [0, 3] {
        cluster.servers[index].process.kill();
    }
    for _ in 0..3 {
        cluster.changes().leave(&[0]).await;
        cluster.settled(&[0, 12]).await;
        cluster.changes().join(&[0]).await;
        cluster.settled(&[6, 6]).await;
    }
    put_all(&cluster.clerk(), "after").await;
    cluster.start_servers();
    cluster.ready().await;
    // Without another server, those that were away are needed for everything.
    for index in [1, 4] {
        cluster.servers[index].process.kill();
    }
    assert_all(&cluster.clerk(), "after").await;
    cluster.start_servers();
    cluster.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_and_go_and_start_again_with_many_small_snapshots() {
    let settings = Settings { groups: 3, first_groups: Some(1), ..Settings::default() };
    let mut cluster = Cluster::start(settings.server_flag("--snapshot-log-bytes", 200)).await;
    cluster.founded(3).await;
    let load = Load::start(&cluster, 6, 8);
    for round in 0..3 {
        cluster.changes().join(&[1, 2]).await;
        load.recorder.more_acknowledged(50).await;
        // One server of each group dies, another each time, while shards move.
        for group in 0..3 {
            let server = &mut cluster.servers[group * 3 + round].process;
            server.kill();
            server.start();
        }
        load.recorder.more_acknowledged(50).await;
        cluster.changes().leave(&[(round as u32) % 3]).await;
        load.recorder.more_acknowledged(50).await;
        cluster.changes().join(&[0]).await;
    }
    cluster.changes().join(&[0, 1, 2]).await;
    cluster.settled(&[4, 4, 4]).await;
    load.finish_right(&cluster).await;
}

/// Clerks that soon repeat a call, and don't give up.
struct Retrying<'a>(&'a Cluster);

impl Clerks for Retrying<'_> {
    fn clerk(&self) -> Clerk {
        let mut options = self.0.clerk_options();
        options.attempt_timeout = Duration::from_millis(100);
        options.deadline = Duration::from_mins(1);
        Clerk::connect(options).expect("the options are right")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_and_go_over_an_unreliable_net() {
    let settings = Settings { groups: 3, first_groups: Some(1), net: true, ..Settings::default() };
    let cluster = Cluster::start(settings).await;
    cluster.founded(3).await;
    cluster.net().set(Faults::UNRELIABLE);
    let load = Load::start(&Retrying(&cluster), 6, 8);
    for _ in 0..2 {
        cluster.changes().join(&[1, 2]).await;
        load.recorder.more_acknowledged(20).await;
        cluster.changes().leave(&[0]).await;
        load.recorder.more_acknowledged(20).await;
        cluster.changes().join(&[0]).await;
        load.recorder.more_acknowledged(20).await;
        cluster.changes().leave(&[1, 2]).await;
        load.recorder.more_acknowledged(20).await;
    }
    cluster.changes().join(&[1, 2]).await;
    cluster.settled(&[4, 4, 4]).await;
    load.recorder.more_acknowledged(20).await;
    load.finish_right(&Retrying(&cluster)).await;
    let counts = cluster.net().counts();
    assert!(counts.requests.lost > 0 && counts.replies.lost > 0 && counts.sent_again > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_many_moves_all_copies_together_are_the_live_data() {
    let settings = Settings { groups: 2, replicas: 1, ..Settings::default() };
    let cluster = Cluster::start(settings).await;
    put_all(&cluster.clerk(), &"v".repeat(1000)).await;
    for _ in 0..5 {
        cluster.changes().leave(&[0]).await;
        cluster.settled(&[0, 12]).await;
        cluster.changes().join(&[0]).await;
        cluster.settled(&[6, 6]).await;
    }
    let (mut keys, mut bytes) = (0, 0);
    for server in &cluster.servers {
        let replica = server.ready().await;
        (keys, bytes) = (keys + replica.keys, bytes + replica.bytes);
    }
    let live: usize = (0..KEYS).map(|index| key(index).len() + 1000).sum();
    assert_eq!((keys, bytes), (u64::from(KEYS), live as u64));
    for server in &cluster.servers {
        server.take_snapshot().await;
        let snapshots = skv_process::files_under(&server.data_dir).into_iter().filter(|file| {
            file.components().any(|part| part.as_os_str().to_string_lossy().contains("snapshot"))
        });
        let size: u64 = snapshots.filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum();
        let held = server.ready().await.bytes;
        assert!(size < 2 * held + (16 << 10), "{}: {size} bytes of snapshots for {held}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_have_arrived_serve_before_the_rest_and_without_their_source() {
    let settings = Settings { groups: 2, first_groups: Some(1), shards: 4, ..Settings::default() };
    let mut cluster = Cluster::start(settings.server_flag("--transfer-bytes-per-second", SLOW)).await;
    cluster.founded(2).await;
    put_all(&cluster.clerk(), &"v".repeat(100 << 10)).await;
    cluster.changes().join(&[1]).await;
    eventually("some of the shards are in g1, and others aren't", || async {
        let held = cluster.group_holdings(1).await?;
        (held.count(State::Served) == 1 && held.count(State::Arriving) > 0).then_some(())
    })
    .await;
    let arrived = eventually("the map knows of it", || async {
        Some(keys_of(&cluster, 1).await).filter(|keys| !keys.is_empty())
    })
    .await;
    kill(&mut cluster, 0);
    let clerk = hasty(&cluster);
    for index in arrived {
        assert_eq!(clerk.get(key(index)).await.expect("a get").value.len(), 100 << 10, "{}", key(index));
    }
    cluster.start_servers();
    cluster.settled(&[2, 2]).await;
    assert_all(&cluster.clerk(), &"v".repeat(100 << 10)).await;
}
