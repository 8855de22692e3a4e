//! The shard manager's record is lost, old or damaged while groups hold data: no group is founded
//! twice, and the map follows from the groups' reports.

use std::fs;
use std::path::Path;

use skv_process::{
    Cluster, Load, Process, Server, Settings, assert_linearizable, biggest_file, eventually, flip_bit,
};
use skv_proto::v1::ShardMap;

fn two_groups() -> Settings {
    Settings { groups: 2, ..Settings::default() }
}

/// Returns the parts of a map that must never change: the cluster, the groups, and the owners.
fn essence(map: &ShardMap) -> impl PartialEq + std::fmt::Debug + use<> {
    let groups: Vec<(u32, u64, u32)> =
        map.groups.iter().map(|group| (group.id, group.uid, group.incarnation)).collect();
    let ranges: Vec<(u32, u32, u32, u64)> =
        map.ranges.iter().map(|range| (range.first, range.count, range.group, range.epoch)).collect();
    (map.cluster_id, map.shards, groups, ranges)
}

async fn shard_map(cluster: &Cluster) -> ShardMap {
    eventually("the manager has a map", || cluster.shard_map()).await
}

/// Returns the revision of the copy of the map that a server keeps on its disk.
fn kept_revision(server: &Server) -> Option<u64> {
    let file = fs::read_to_string(server.data_dir.join("shard-map")).ok()?;
    let (_, map) = file.split_once('\n')?;
    serde_json::from_str::<serde_json::Value>(map).ok()?["revision"].as_u64()
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let path = entry.expect("a directory can be read").path();
        let name = path.file_name().expect("an entry has a name");
        fs::copy(&path, to.join(name)).expect("a file can be copied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_record_is_rebuilt_from_the_groups() {
    let mut cluster = Cluster::start(two_groups()).await;
    let load = Load::start(&cluster, 4, 6);
    load.recorder.more_acknowledged(100).await;
    let before = shard_map(&cluster).await;
    cluster.manager.kill();
    fs::remove_dir_all(&cluster.manager_dir).expect("a directory can be removed");
    cluster.manager.start();
    let after = shard_map(&cluster).await;
    assert_eq!(essence(&after), essence(&before));
    load.recorder.more_acknowledged(100).await;
    assert_linearizable(&load.finish(&cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_nothing_is_founded_before_every_group_has_reported() {
    let mut cluster = Cluster::start(two_groups()).await;
    let before = shard_map(&cluster).await;
    // Until then the servers may believe that the first founding still goes on.
    eventually("the servers keep the map of groups that have begun", || async {
        let mut servers = cluster.servers.iter().filter(|server| server.hosts(1));
        servers.all(|server| kept_revision(server) >= Some(2)).then_some(())
    })
    .await;
    cluster.kill_all();
    fs::remove_dir_all(&cluster.manager_dir).expect("a directory can be removed");
    cluster.manager.start();
    // The servers of one group come back empty: with the record they were a group, and
    // without it they look like a new one.
    for server in cluster.servers.iter_mut().filter(|server| server.hosts(0)) {
        server.wipe();
        server.process.start();
    }
    for server in cluster.servers.iter_mut().filter(|server| server.hosts(1)) {
        server.process.start();
    }
    let leader = cluster.leader(1).await;
    cluster.servers[leader].ready().await;
    let holds = cluster.servers[leader].replica().await.expect("it answers");
    let uid_of_1 = before.groups.iter().find(|group| group.id == 1).map(|group| group.uid);
    assert_eq!(Some(holds.group_uid), uid_of_1, "the group with data is the same");
    for server in cluster.servers.iter().filter(|server| server.hosts(0)) {
        // The manager has heard of all of them, and what the other group has.
        let replica = eventually("the manager knows that shards are missing", || async {
            server.replica().await.filter(|replica| replica.problem.contains("no group owns the shards"))
        })
        .await;
        assert!(!replica.ready && replica.group_uid == 0, "{replica:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_put_back_from_an_older_copy_undoes_nothing() {
    let mut cluster = Cluster::start(two_groups()).await;
    let load = Load::start(&cluster, 4, 6);
    load.recorder.more_acknowledged(100).await;
    let before = shard_map(&cluster).await;
    let copy = cluster.directory().join("copy");
    copy_directory(&cluster.manager_dir, &copy);

    // The record moves on: a member is replaced.
    let old = cluster.servers[0].ready().await.replica;
    cluster.servers[0].process.kill();
    cluster.servers[0].wipe();
    cluster.servers[0].process.start();
    let new = cluster.servers[0].ready().await.replica;
    assert_ne!(new, old);

    cluster.manager.kill();
    fs::remove_dir_all(&cluster.manager_dir).expect("a directory can be removed");
    copy_directory(&copy, &cluster.manager_dir);
    cluster.manager.start();
    let after = eventually("the map names the new member", || async {
        let map = cluster.shard_map().await?;
        let members = map.groups.iter().flat_map(|group| &group.replicas).map(|replica| replica.id);
        let members: Vec<u64> = members.collect();
        (members.contains(&new) && !members.contains(&old)).then_some(map)
    })
    .await;
    assert_eq!(essence(&after), essence(&before));
    assert!(cluster.voters(0).await.contains(&new));

    // The manager is obeyed again: another member can be replaced.
    cluster.servers[1].process.kill();
    cluster.servers[1].wipe();
    cluster.servers[1].process.start();
    cluster.servers[1].ready().await;
    load.recorder.more_acknowledged(100).await;
    assert_linearizable(&load.finish(&cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_record_and_an_emptied_member_found_no_second_group() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 4, 6);
    load.recorder.more_acknowledged(100).await;
    let before = shard_map(&cluster).await;
    cluster.manager.kill();
    fs::remove_dir_all(&cluster.manager_dir).expect("a directory can be removed");
    let old = cluster.servers[0].ready().await.replica;
    cluster.servers[0].process.kill();
    cluster.servers[0].wipe();
    cluster.servers[0].process.start();
    cluster.manager.start();
    let new = cluster.servers[0].ready().await;
    assert_ne!(new.replica, old);
    assert_eq!(new.group_uid, before.groups[0].uid);
    assert_eq!(essence(&shard_map(&cluster).await), essence(&before));
    load.recorder.more_acknowledged(50).await;
    assert_linearizable(&load.finish(&cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_refused_by_name() {
    let mut cluster = Cluster::start(Settings::default()).await;
    cluster.manager.kill();
    flip_bit(&biggest_file(&cluster.manager_dir, "shard-map"), 40);
    cluster.manager.start();
    let status = cluster.manager.wait().await;
    assert!(!status.success());
    let log = cluster.manager.log();
    assert!(log.contains("shard-map"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_manager_on_the_same_record_refuses_to_start() {
    let cluster = Cluster::start(Settings::default()).await;
    let arguments = ["--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--replicas=3", "--shards=12"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(format!("--data-dir={}", cluster.manager_dir.display()));
    let log = cluster.directory().join("second.log");
    let mut second = Process::new(&skv_process::programs().shardmanager, arguments, log);
    second.start();
    assert!(!second.wait().await.success());
    assert!(second.log().contains("already"), "{}", second.log());
}
