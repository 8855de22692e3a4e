//! Shards move while groups have no quorum, while the shard manager is away or has lost its
//! record, and while the number of groups goes up and down.

use std::fs;
use std::path::Path;

use skv_chaos::{Cluster, Load, Settings, eventually, first_append, open_session};
use skv_checker::Outcome;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::shard_status::State;
use skv_sharding::{Hash, ShardId};

/// Slow enough that a move is still under way when the test acts on it.
const SLOW: u32 = 256 << 10;
const BALLAST: u32 = 16;
const BALLAST_BYTES: usize = 200 << 10;

/// Groups of which the first has all four shards.
fn one_of(groups: u32) -> Settings {
    Settings { groups, first_groups: Some(1), shards: 4, ..Settings::default() }
}

async fn start(settings: Settings) -> Cluster {
    let groups = settings.groups;
    let cluster = Cluster::start(settings).await;
    cluster.founded(groups as usize).await;
    cluster
}

/// Keys with so much in them that moves take their time.
async fn put_ballast(cluster: &Cluster) {
    let clerk = cluster.clerk();
    for index in 0..BALLAST {
        clerk.put(format!("ballast-{index}"), "b".repeat(BALLAST_BYTES)).await.expect("a put");
    }
}

/// Waits until so many shards of a group are in this state.
async fn shards_are(cluster: &Cluster, group: u32, state: State, count: usize) {
    eventually(&format!("{count} shards of g{group} are {state:?}"), || async {
        let found = cluster.group_holdings(group).await?.count(state);
        (found == count).then_some(())
    })
    .await;
}

/// Waits until a group copies a shard that it serves.
async fn copying(cluster: &Cluster, group: u32) {
    eventually(&format!("g{group} copies a shard"), || async {
        (cluster.group_holdings(group).await?.count(State::Copying) > 0).then_some(())
    })
    .await;
}

/// Kills servers of a group until one is left.
fn take_quorum(cluster: &mut Cluster, group: u32) {
    let servers = cluster.servers.iter_mut().filter(|server| server.hosts(group));
    servers.skip(1).for_each(|server| server.process.kill());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_group_without_quorum_harms_nobody_and_can_be_taken_back_or_redirected() {
    let mut cluster = start(one_of(3)).await;
    let load = Load::start(&cluster, 4, 8);
    load.recorder.more_acknowledged(100).await;
    take_quorum(&mut cluster, 1);
    cluster.changes().join(&[1]).await;
    shards_are(&cluster, 0, State::Copying, 2).await;
    load.recorder.more_acknowledged(200).await;
    shards_are(&cluster, 0, State::Copying, 2).await;

    cluster.changes().leave(&[1]).await;
    shards_are(&cluster, 0, State::Served, 4).await;

    cluster.changes().join(&[1]).await;
    shards_are(&cluster, 0, State::Copying, 2).await;
    cluster.changes().join(&[2]).await;
    cluster.changes().leave(&[1]).await;
    shards_are(&cluster, 2, State::Served, 2).await;
    cluster.start_servers();
    assert_eq!(cluster.settled(&[0, 2, 2]).await, [2, 0, 2]);
    load.recorder.more_acknowledged(100).await;
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_target_loses_its_quorum_after_the_freeze_waits_for_it() {
    let mut cluster = start(Settings { fail_points: true, ..one_of(2) }).await;
    let load = Load::start(&cluster, 4, 8);
    load.recorder.more_acknowledged(100).await;
    // Of three members two are needed: without a follower, the leader's death is the quorum's end.
    let leader = cluster.leader(1).await;
    let follower = (3..6).find(|&index| index != leader).expect("a group has three servers");
    cluster.servers[follower].process.kill();
    cluster.arm("install-due");
    cluster.changes().join(&[1]).await;
    cluster.server_dies_at("install-due").await;
    eventually("the source answers for a frozen shard", || async {
        (cluster.group_holdings(0).await?.count(State::Frozen) > 0).then_some(())
    })
    .await;
    assert_eq!(cluster.shard_map().await.expect("the manager answers").ranges.len(), 1, "all in g0");

    cluster.start_servers();
    cluster.settled(&[2, 2]).await;
    load.recorder.more_acknowledged(100).await;
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_was_lost_gets_it_after_its_shard_went_to_and_fro() {
    let cluster = Cluster::start(Settings { groups: 2, shards: 2, ..Settings::default() }).await;
    let is_in_g0 = |key: &String| Hash::Fnv1.shard(key.as_bytes(), 2) == Ok(ShardId(0));
    let key = &(0..100).map(|number| format!("key-{number}")).find(is_in_g0).expect("there is one");
    let address = format!("http://{}", cluster.servers[0].client_address);
    let mut kv = KvClient::connect(address).await.expect("the server listens");
    let session = open_session(&mut kv).await;
    // What a clerk never heard.
    let answer = first_append(&mut kv, session, key, "a").await.expect("it is appended");
    let clerk = cluster.clerk();
    for (target, token) in [(1, "b"), (0, "c"), (1, "d")] {
        cluster.move_shard(0, target).await;
        clerk.append(key.clone(), token).await.expect("it is appended");
    }
    let again = first_append(&mut kv, session, key, "a").await.expect("it was appended");
    assert_eq!(again, answer);
    assert_eq!(clerk.get(key.clone()).await.expect("a value").value, "abcd");
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_that_the_groups_know_of_need_no_manager() {
    let settings = one_of(2).server_flag("--transfer-bytes-per-second", SLOW);
    let mut cluster = start(settings).await;
    put_ballast(&cluster).await;
    let load = Load::start(&cluster, 4, 8);
    load.recorder.more_acknowledged(100).await;
    cluster.changes().join(&[1]).await;
    copying(&cluster, 0).await;
    cluster.manager.kill();
    shards_are(&cluster, 1, State::Served, 2).await;
    shards_are(&cluster, 0, State::Served, 2).await;
    load.recorder.more_acknowledged(100).await;

    cluster.manager.start();
    cluster.settled(&[2, 2]).await;
    load.finish_right(&cluster).await;
}

/// Kills the manager while shards move, and starts it again on what `replace` makes of its files.
async fn lose_the_record_amid_moves(replace: impl FnOnce(&Path, &Path)) {
    let settings = one_of(2).server_flag("--transfer-bytes-per-second", SLOW);
    let mut cluster = start(settings).await;
    put_ballast(&cluster).await;
    let load = Load::start(&cluster, 4, 8);
    load.recorder.more_acknowledged(100).await;
    let copy = cluster.directory().join("copy");
    copy_directory(&cluster.manager_dir, &copy);
    cluster.changes().join(&[1]).await;
    copying(&cluster, 0).await;
    cluster.manager.kill();
    fs::remove_dir_all(&cluster.manager_dir).expect("a directory can be removed");
    replace(&copy, &cluster.manager_dir);
    cluster.manager.start();
    load.recorder.more_acknowledged(100).await;
    eventually("the map is rebuilt from the groups", || async {
        cluster.manager.log().contains("the map was rebuilt from the groups").then_some(())
    })
    .await;

    cluster.changes().join(&[1]).await;
    cluster.settled(&[2, 2]).await;
    load.recorder.more_acknowledged(100).await;
    load.finish_right(&cluster).await;
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("a directory can be read");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_deleted_amid_moves_is_rebuilt_and_the_moves_can_be_asked_for_again() {
    lose_the_record_amid_moves(|_, _| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_put_back_from_before_the_moves_undoes_nothing() {
    lose_the_record_amid_moves(copy_directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_group_becomes_four_then_two_then_three_while_ten_clerks_append() {
    let cluster = start(Settings { replicas: 1, shards: 16, ..one_of(4) }).await;
    let load = Load::start(&cluster, 10, 12);
    load.recorder.more_acknowledged(200).await;
    cluster.changes().join(&[1, 2, 3]).await;
    cluster.settled(&[4, 4, 4, 4]).await;
    load.recorder.more_acknowledged(200).await;
    cluster.changes().leave(&[0, 2]).await;
    assert_eq!(cluster.settled(&[0, 0, 8, 8]).await, [0, 8, 0, 8]);
    load.recorder.more_acknowledged(200).await;
    cluster.changes().join(&[0]).await;
    cluster.settled(&[0, 5, 5, 6]).await;
    load.recorder.more_acknowledged(200).await;
    let events = load.finish_right(&cluster).await;

    // The last reads found each key that there is, and no group has any other.
    let found = |event: &&skv_checker::Event| {
        event.client == u64::MAX && event.outcome == Outcome::Ok && event.found == Some(true)
    };
    let live = events.iter().filter(found).count() as u64;
    let mut held = 0;
    for server in &cluster.servers {
        held += server.ready().await.keys;
    }
    assert_eq!(held, live);
}
