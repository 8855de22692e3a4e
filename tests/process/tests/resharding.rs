//! Shards move while groups have no quorum, while the shard manager is away or has lost its record,
//! and while the number of groups goes up and down; and the cost of that for others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use skv_checker::{Event, Outcome};
use skv_client::Clerk;
use skv_process::{
    Cluster, Load, Server, Settings, eventually, files_under, first_append, keys_of, open_session,
    outgrow_copies,
};
use skv_proto::v1::PutRequest;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::shard_status::State;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Request, Status};

/// The speed of moves: slow enough that one is still under way when the test acts on it.
const SLOW: u32 = 256 << 10;
const BALLAST: u32 = 16;
const BALLAST_BYTES: usize = 200 << 10;
/// The size of values of which 64 are changed in less time than they are carried in.
const LARGE: usize = 64 << 10;
/// The default size of the log's segments.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Returns settings of groups of which the first has all four shards.
fn one_of(groups: u32) -> Settings {
    Settings { groups, first_groups: Some(1), shards: 4, ..Settings::default() }
}

async fn start(settings: Settings) -> Cluster {
    let groups = settings.groups;
    let cluster = Cluster::start(settings).await;
    cluster.founded(groups as usize).await;
    cluster
}

/// Writes enough to each key that moves take their time.
async fn put_ballast(cluster: &Cluster) {
    let clerk = cluster.clerk();
    for index in 0..BALLAST {
        clerk.put(format!("ballast-{index}"), "b".repeat(BALLAST_BYTES)).await.expect("a put");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_group_without_quorum_harms_nobody_and_can_be_taken_back_or_redirected() {
    let mut cluster = start(one_of(3)).await;
    let load = Load::start(&cluster, 4, 8);
    load.recorder.more_acknowledged(100).await;
    cluster.take_quorum(1);
    cluster.changes().join(&[1]).await;
    // Nothing is kept for a target that hasn't promised to take it.
    cluster.shards_are(0, State::Queued, 2..=2).await;
    load.recorder.more_acknowledged(200).await;
    cluster.shards_are(0, State::Queued, 2..=2).await;

    cluster.changes().leave(&[1]).await;
    cluster.shards_are(0, State::Served, 4..=4).await;

    cluster.changes().join(&[1]).await;
    cluster.shards_are(0, State::Queued, 2..=2).await;
    cluster.changes().join(&[2]).await;
    // The moves of g2 don't wait for those of g1.
    cluster.shards_are(2, State::Served, 1..=1).await;
    cluster.changes().leave(&[1]).await;
    cluster.shards_are(2, State::Served, 2..=2).await;
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
    // Two of three members are needed: without a follower, the leader's death is the quorum's end.
    let leader = cluster.leader(1).await;
    let follower = (3..6).find(|&index| index != leader).expect("a group has three servers");
    cluster.servers[follower].process.kill();
    cluster.arm("install-due");
    cluster.changes().join(&[1]).await;
    cluster.server_dies_at("install-due").await;
    cluster.some_shard_is(0, State::Frozen).await;
    assert_eq!(cluster.shard_map().await.expect("the manager answers").ranges.len(), 1, "all in g0");

    cluster.start_servers();
    cluster.settled(&[2, 2]).await;
    load.recorder.more_acknowledged(100).await;
    load.finish_right(&cluster).await;
}

/// The source drops the copy, else it would keep every deletion until its target comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_away_for_too_many_deletions_gets_a_new_copy() {
    let settings = Settings { replicas: 1, ..one_of(2) };
    let mut cluster = start(settings.server_flag("--transfer-bytes-per-second", SLOW)).await;
    put_ballast(&cluster).await;
    cluster.changes().join(&[1]).await;
    cluster.some_shard_is(0, State::Copying).await;
    cluster.servers[1].process.kill();
    let clerk = cluster.clerk();
    outgrow_copies(&clerk).await;
    clerk.delete("ballast-0").await.expect("the source serves");
    cluster.shards_are(0, State::Queued, 2..=2).await;

    cluster.start_servers();
    cluster.settled(&[2, 2]).await;
    for index in 0..BALLAST {
        let found = clerk.get(format!("ballast-{index}")).await.expect("a get");
        assert_eq!(found.value.len(), if index == 0 { 0 } else { BALLAST_BYTES }, "ballast-{index}");
    }
    let held = join_all(cluster.servers.iter().map(Server::ready)).await;
    assert_eq!(held.iter().map(|replica| replica.keys).sum::<u64>(), u64::from(BALLAST) - 1);
}

/// A shard that is redirected too late goes where it was going, and on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_comes_too_late_for_a_frozen_shard_ends_in_one_owner() {
    let mut cluster = start(Settings { replicas: 1, fail_points: true, ..one_of(3) }).await;
    let load = Load::start(&cluster, 4, 8);
    load.recorder.more_acknowledged(100).await;
    cluster.arm("install-due");
    cluster.changes().join(&[1]).await;
    cluster.server_dies_at("install-due").await;
    cluster.some_shard_is(0, State::Frozen).await;
    cluster.changes().join(&[2]).await;
    cluster.changes().leave(&[1]).await;
    cluster.start_servers();
    assert_eq!(cluster.settled(&[0, 2, 2]).await, [2, 0, 2]);
    load.recorder.more_acknowledged(100).await;
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_was_lost_gets_it_after_its_shard_went_to_and_fro() {
    let cluster = Cluster::start(Settings { groups: 2, shards: 2, ..Settings::default() }).await;
    // Shard 0 is in g0.
    let key = &keys_of(0, 2).next().expect("there is one");
    let address = format!("http://{}", cluster.servers[0].client_address);
    let mut kv = KvClient::connect(address).await.expect("the server listens");
    let session = open_session(&mut kv).await;
    // The clerk never heard this answer.
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
    cluster.some_shard_is(0, State::Copying).await;
    cluster.manager.kill();
    cluster.shards_are(1, State::Served, 2..=2).await;
    cluster.shards_are(0, State::Served, 2..=2).await;
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
    cluster.some_shard_is(0, State::Copying).await;
    cluster.manager.kill();
    fs::remove_dir_all(&cluster.manager_dir).expect("a directory can be removed");
    replace(&copy, &cluster.manager_dir);
    cluster.manager.start();
    load.recorder.more_acknowledged(100).await;
    eventually("the map is rebuilt from the groups", || async {
        cluster.manager.log().contains("the map was rebuilt from the groups").then_some(())
    })
    .await;
    // As long as g0 has all shards, the map may be rebuilt before anybody has heard of g1.
    cluster.founded(2).await;

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

    assert_only_live_data(&cluster, &events).await;
}

/// Asserts that the last reads of a history found each key that there is; no group has any other,
/// and on disk there is little more.
async fn assert_only_live_data(cluster: &Cluster, events: &[Event]) {
    let found = |event: &&Event| {
        event.client == u64::MAX && event.outcome == Outcome::Ok && event.found == Some(true)
    };
    let size = |event: &Event| event.key.len() + event.output.as_ref().expect("a value").len();
    let live: Vec<u64> = events.iter().filter(found).map(|event| size(event) as u64).collect();
    let (live_keys, live_bytes) = (live.len() as u64, live.iter().sum::<u64>());
    let (mut keys, mut bytes, mut on_disk) = (0, 0, 0);
    for server in &cluster.servers {
        server.take_snapshot().await;
        let held = server.ready().await;
        (keys, bytes) = (keys + held.keys, bytes + held.bytes);
        let sizes =
            files_under(&server.data_dir).into_iter().map(|file| fs::metadata(file).expect("it is there"));
        on_disk += sizes.map(|file| file.len()).sum::<u64>();
    }
    assert_eq!((keys, bytes), (live_keys, live_bytes));
    // A server keeps three segments of the log: the one that is written, the next one, and at most one more.
    let logs = cluster.servers.len() as u64 * 3 * SEGMENT_BYTES;
    assert!(on_disk <= 2 * live_bytes + logs, "{on_disk} bytes on disk for {live_bytes}");
}

/// Runs a clerk that replaces the values of these keys, one after the other, until it is told to
/// stop. Returns the final values, which consist of one byte.
async fn overwrite(clerk: Clerk, keys: Vec<String>, stop: watch::Receiver<bool>) -> BTreeMap<String, u8> {
    let mut written = BTreeMap::new();
    for (key, byte) in keys.into_iter().cycle().zip((0..=u8::MAX).cycle()) {
        if *stop.borrow() {
            break;
        }
        clerk.put(key.clone(), vec![byte; LARGE]).await.expect("no call fails");
        written.insert(key, byte);
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_a_shard_that_changes_as_fast_as_it_is_carried_are_slowed_and_no_others() {
    const WRITERS: usize = 8;
    const KEYS: usize = 64;
    // Shards 0 and 2 are in g0.
    let settings = Settings { groups: 2, replicas: 1, shards: 4, ..Settings::default() };
    let cluster = start(settings.server_flag("--transfer-bytes-per-second", 8 << 20)).await;
    let moving: Vec<String> = keys_of(0, 4).take(KEYS).collect();
    let clerk = cluster.clerk();
    for put in join_all(moving.iter().map(|key| clerk.put(key.clone(), vec![0; LARGE]))).await {
        put.expect("a put");
    }
    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    for keys in moving.chunks(KEYS / WRITERS) {
        writers.spawn(overwrite(cluster.clerk(), keys.to_owned(), stopped.clone()));
    }
    writers.spawn(overwrite(cluster.clerk(), keys_of(2, 4).take(4).collect(), stopped));
    cluster.move_shard(0, 1).await;
    stop.send_replace(true);

    let written: BTreeMap<String, u8> = writers.join_all().await.into_iter().flatten().collect();
    for (key, byte) in written {
        assert!(clerk.get(key.clone()).await.expect("a get").value == vec![byte; LARGE], "{key}");
    }
    let log = cluster.servers[0].process.log();
    let of_brake: Vec<&str> = log.lines().filter(|line| line.contains("writes are slowed down")).collect();
    let [slowed, not_any_more] = of_brake[..] else { panic!("once and no more: {of_brake:?}") };
    assert!(slowed.contains("shard=0") && !slowed.contains("no more"), "{slowed}");
    assert!(not_any_more.contains("shard=0") && not_any_more.contains("no more"), "{not_any_more}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_how_far_moves_are_and_what_they_took() {
    let settings = Settings { replicas: 1, ..one_of(2) };
    let cluster = start(settings.server_flag("--transfer-bytes-per-second", 1 << 20)).await;
    put_ballast(&cluster).await;
    let [source, target] = &cluster.servers[..] else { panic!("two servers") };
    cluster.changes().join(&[1]).await;
    eventually("the source says that it copies, and the target that something comes", || async {
        let copying = source.metric(r#"skv_shards_copying{group="g0"}"#).await?;
        let arriving = target.metric(r#"skv_shards_arriving{group="g1"}"#).await?;
        (copying >= 1.0 && arriving >= 1.0).then_some(())
    })
    .await;
    cluster.settled(&[2, 2]).await;
    for (server, group) in [(source, 0), (target, 1)] {
        for (state, count) in [("owned", 2), ("queued", 0), ("copying", 0), ("frozen", 0), ("arriving", 0)] {
            let name = format!(r#"skv_shards_{state}{{group="g{group}"}}"#);
            assert_eq!(server.metric(&name).await, Some(f64::from(count)), "{name}");
        }
        eventually("the copy of the map is the newest", || async {
            (server.metric("skv_map_lag_revisions").await? == 0.0).then_some(())
        })
        .await;
    }
    let carried = target.metric(r#"skv_stored_bytes{group="g1"}"#).await.expect("a figure");
    assert!(carried >= BALLAST_BYTES as f64, "there is ballast in each shard");
    assert!(source.metric("skv_handoff_bytes_total").await.expect("a figure") >= carried);
    for (name, at_source) in [("skv_handoffs_total", 2.0), ("skv_handoff_unserved_seconds_count", 2.0)] {
        assert_eq!(
            (source.metric(name).await, target.metric(name).await),
            (Some(at_source), Some(0.0)),
            "{name}"
        );
    }
}

/// Writes to a shard at the one server of its group, and nowhere else, until that refuses.
async fn write_directly(
    server: String,
    key: String,
    answered: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
) -> Result<(), Status> {
    let mut kv = KvClient::connect(server).await.expect("the server listens");
    while !*stop.borrow() {
        let put = PutRequest { key: key.clone().into(), direct: true, ..PutRequest::default() };
        let mut put = Request::new(put);
        put.set_timeout(Duration::from_secs(20));
        kv.put(put).await?;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Nothing is sent again, since there is no clerk.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_shards_that_move_stop_at_their_groups() {
    const SHARDS: u32 = 12;
    let settings = Settings { groups: 3, first_groups: Some(2), replicas: 1, ..Settings::default() };
    let settings = Settings { shards: SHARDS, ..settings };
    let cluster = start(settings.server_flag("--transfer-bytes-per-second", SLOW)).await;
    put_ballast(&cluster).await;
    let (stop, stopped) = watch::channel(false);
    let mut writers = BTreeMap::new();
    for range in cluster.shard_map().await.expect("the manager answers").ranges {
        for shard in range.first..range.first + range.count {
            let server = format!("http://{}", cluster.servers[range.group as usize].client_address);
            let (key, answered) = (keys_of(shard, SHARDS).next().expect("a key"), Arc::default());
            let writer = write_directly(server, key, Arc::clone(&answered), stopped.clone());
            writers.insert(shard, (tokio::spawn(writer), answered));
        }
    }
    assert_eq!(writers.len(), SHARDS as usize);
    let more = async |shards: &BTreeSet<u32>| {
        for (_, answered) in shards.iter().map(|shard| &writers[shard]) {
            let goal = answered.load(Ordering::Relaxed) + 10;
            eventually("a writer goes on", || async {
                (answered.load(Ordering::Relaxed) >= goal).then_some(())
            })
            .await;
        }
    };
    more(&(0..SHARDS).collect()).await;
    // Both groups are sources of the third's shards, and then targets of the same.
    let moves = cluster.changes().join(&[2]).await.moves;
    let moved: BTreeSet<u32> = moves.iter().map(|planned| planned.shard).collect();
    let staying: BTreeSet<u32> = (0..SHARDS).filter(|shard| !moved.contains(shard)).collect();
    more(&staying).await;
    cluster.settled(&[4, 4, 4]).await;
    more(&staying).await;
    let moves = cluster.changes().leave(&[2]).await.moves;
    assert!(moves.iter().all(|planned| moved.contains(&planned.shard)), "{moves:?}");
    more(&staying).await;
    cluster.settled(&[0, 6, 6]).await;
    more(&staying).await;

    stop.send_replace(true);
    for (shard, (writer, _)) in writers {
        let ended = writer.await.expect("a writer doesn't panic");
        assert_eq!(ended.is_ok(), staying.contains(&shard), "shard {shard}: {ended:?}");
    }
}

/// Returns the number of shards that a group has in any of these states.
async fn count(cluster: &Cluster, group: u32, states: &[State]) -> Option<usize> {
    let held = cluster.group_holdings(group).await?;
    Some(states.iter().map(|state| held.count(*state)).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_takes_some_shards_at_a_time_and_a_source_sends_two() {
    const SOURCES: [u32; 4] = [1, 2, 3, 4];
    const LEAVING: [State; 2] = [State::Copying, State::Frozen];
    let settings = Settings { groups: 5, replicas: 1, shards: 20, ..Settings::default() };
    // Each source takes some ten seconds: all of them are busy when the last one begins.
    let cluster = start(settings.server_flag("--transfer-bytes-per-second", SLOW / 4)).await;
    let clerk = cluster.clerk();
    for shard in 0..20 {
        for key in keys_of(shard, 20).take(2) {
            clerk.put(key, "b".repeat(BALLAST_BYTES / 2)).await.expect("a put");
        }
    }
    let ranges = cluster.shard_map().await.expect("the manager answers").ranges;
    let pin = async |source: u32, target: u32| {
        for range in ranges.iter().filter(|range| range.group == source) {
            for shard in range.first..range.first + range.count {
                cluster.changes().move_shard(shard, target).await;
            }
        }
    };
    // The pins prevent moves in exchange.
    for group in 0..5 {
        pin(group, group).await;
    }
    // The sources start one after the other: of those that ask at the same moment, the target takes all.
    for (source, arriving) in SOURCES.into_iter().zip([2, 4, 4, 4]) {
        pin(source, 0).await;
        eventually("the source has begun", || async {
            (count(&cluster, source, &LEAVING).await? == 2).then_some(())
        })
        .await;
        eventually("what there is room for arrives", || async {
            (count(&cluster, 0, &[State::Arriving]).await? >= arriving).then_some(())
        })
        .await;
    }
    eventually("all shards are in g0", || async {
        // Two sources that ask at the same moment may both get the last place.
        let arriving = count(&cluster, 0, &[State::Arriving]).await?;
        assert!(arriving <= 6, "{arriving} arrive at once");
        for source in SOURCES {
            let leaving = count(&cluster, source, &LEAVING).await?;
            assert!(leaving <= 2, "{leaving} leave g{source} at once");
        }
        (count(&cluster, 0, &[State::Served]).await? == 20).then_some(())
    })
    .await;
    let refused = |server: &Server| server.process.log().contains("g0 refuses receive");
    assert!(cluster.servers.iter().any(refused), "nobody had to wait");
    cluster.settled(&[0, 0, 0, 0, 20]).await;
}
