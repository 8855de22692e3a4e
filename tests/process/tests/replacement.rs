//! Lost and damaged files: the replica that comes back is a new one, the old identity never counts
//! again, and no acknowledged write is lost.

use std::collections::BTreeSet;
use std::fs;

use skv_process::{
    Cluster, Load, Settings, assert_linearizable, biggest_file, cut_file, eventually, files_under, flip_bit,
};
use skv_proto::v1::ReplicaState;

/// Returns settings with so little log between snapshots that the log alone can't bring a new replica up.
fn small_log() -> Settings {
    Settings::default().server_flag("--snapshot-log-bytes", 16_384)
}

/// Waits until the replica of a server is a voter beside the others, and no other replica is.
async fn replaced(cluster: &Cluster, index: usize, old: u64) -> u64 {
    eventually("the new replica is a voter in place of the old one", || async {
        let new = cluster.servers[index].replica().await.filter(|replica| replica.ready)?.replica;
        let voters: BTreeSet<u64> = cluster.voters(0).await.into_iter().collect();
        (voters.len() == 3 && voters.contains(&new) && !voters.contains(&old)).then_some(new)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_an_empty_directory_is_admitted_as_a_new_replica() {
    let mut cluster = Cluster::start(small_log()).await;
    let load = Load::start(&cluster, 6, 6);
    for index in 0..3 {
        load.recorder.more_acknowledged(200).await;
        let before = cluster.servers[index].ready().await;
        cluster.servers[index].process.kill();
        cluster.servers[index].wipe();
        for other in [(index + 1) % 3, (index + 2) % 3] {
            cluster.servers[other].take_snapshot().await;
        }
        cluster.servers[index].process.start();
        let new = replaced(&cluster, index, before.replica).await;
        let after = cluster.servers[index].ready().await;
        assert_eq!(after.replica, new);
        assert_ne!(new, before.replica);
        assert_eq!(after.group_uid, before.group_uid, "it is the same group");
        assert!(after.snapshot.is_some(), "it caught up by a snapshot");
    }
    // Only the new replicas are left: they hold everything.
    let events = load.finish(&cluster).await;
    assert_linearizable(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_directories_of_a_majority_found_no_second_group() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 2, 2);
    load.recorder.more_acknowledged(50).await;
    let uid = cluster.servers[2].ready().await.group_uid;
    load.finish(&cluster).await;
    for server in &mut cluster.servers[..2] {
        server.process.kill();
        server.wipe();
        server.process.start();
    }
    // Two empty replicas would be a majority of a new group. They must wait instead, and
    // the one that has the data must see that its quorum is gone.
    eventually("the last replica misses its quorum", || async {
        let last = cluster.servers[2].replica().await?;
        (last.quorum_lost_ms > 0 || !last.ready).then_some(())
    })
    .await;
    for server in &cluster.servers[..2] {
        let replica = eventually("an empty replica answers", || server.replica()).await;
        assert!(!replica.ready);
        assert!(
            matches!(replica.state(), ReplicaState::Waiting | ReplicaState::Learner | ReplicaState::Follower),
            "{replica:?}"
        );
        assert_eq!(replica.keys, 0);
    }
    let map = cluster.shard_map().await.expect("the manager answers");
    assert_eq!(map.groups[0].uid, uid, "there is no second group");
    assert_eq!(cluster.servers[2].replica().await.map(|replica| replica.group_uid), Some(uid));
}

/// The damage to one file of a stopped server.
type Damage = fn(&std::path::Path);

async fn damaged_and_replaced(what: &str, damage: Damage) {
    let mut cluster = Cluster::start(small_log()).await;
    let load = Load::start(&cluster, 4, 4);
    load.recorder.more_acknowledged(300).await;
    let old = cluster.servers[1].ready().await.replica;
    eventually("there is a snapshot", || async {
        cluster.servers[1].replica().await.and_then(|replica| replica.snapshot)
    })
    .await;
    cluster.servers[1].process.stop().await;
    damage(&cluster.servers[1].data_dir);
    cluster.servers[1].process.start();
    replaced(&cluster, 1, old).await;
    let log = cluster.servers[1].process.log();
    assert!(log.contains("is damaged at byte"), "{what} is named in the log:\n{log}");
    load.recorder.more_acknowledged(50).await;
    assert_linearizable(&load.finish(&cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_log_is_found_and_the_replica_replaced() {
    damaged_and_replaced("the log", |dir| {
        let first = files_under(dir).into_iter().find(|path| path.to_string_lossy().ends_with(".seg"));
        flip_bit(&first.expect("there is a segment"), 600);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_snapshot_is_found_and_the_replica_replaced() {
    damaged_and_replaced("the snapshot", |dir| {
        let snapshot = biggest_file(dir, ".snap");
        flip_bit(&snapshot, fs::metadata(&snapshot).expect("it is there").len() / 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_cut_is_found_and_the_replica_replaced() {
    damaged_and_replaced("the snapshot", |dir| {
        let snapshot = biggest_file(dir, ".snap");
        cut_file(&snapshot, fs::metadata(&snapshot).expect("it is there").len() - 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_was_cut_is_found_and_the_replica_replaced() {
    damaged_and_replaced("the log", |dir| cut_file(&biggest_file(dir, ".seg"), 4096)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_vote_is_found_and_the_replica_replaced() {
    damaged_and_replaced("the vote", |dir| fs::remove_file(biggest_file(dir, "vote")).expect("it is there"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_without_a_quorum_is_named_and_the_files_are_kept() {
    let mut cluster = Cluster::start(small_log()).await;
    let load = Load::start(&cluster, 2, 2);
    load.recorder.more_acknowledged(100).await;
    load.finish(&cluster).await;
    cluster.servers[0].process.kill();
    cluster.servers[1].process.stop().await;
    flip_bit(&biggest_file(&cluster.servers[1].data_dir, ".seg"), 600);
    cluster.servers[1].process.start();
    let problem = eventually("the damaged replica says what is wrong", || async {
        let log = cluster.servers[1].process.log();
        log.lines().find(|line| line.contains("is damaged at byte")).map(str::to_owned)
    })
    .await;
    assert!(problem.contains(".seg"), "{problem}");
    let quarantine = cluster.servers[1].data_dir.join("quarantine");
    eventually("the files are in quarantine", || async {
        (!files_under(&quarantine).is_empty()).then_some(())
    })
    .await;
    // Alone it can't be admitted; with the third member back it can, and only then may the
    // damaged files go.
    assert!(!cluster.servers[1].replica().await.is_some_and(|replica| replica.ready));
    cluster.servers[0].process.start();
    cluster.servers[1].ready().await;
    eventually("the quarantine is emptied", || async { files_under(&quarantine).is_empty().then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_only_server_is_a_new_replica_after_every_restart() {
    let mut cluster = Cluster::start(Settings { memory_only: true, ..small_log() }).await;
    let load = Load::start(&cluster, 4, 4);
    for index in 0..3 {
        load.recorder.more_acknowledged(100).await;
        let old = cluster.servers[index].ready().await.replica;
        cluster.servers[index].process.kill();
        cluster.servers[index].process.start();
        replaced(&cluster, index, old).await;
    }
    assert_linearizable(&load.finish(&cluster).await);
}

/// Copies a directory with everything in it, also directories without a file.
fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let path = entry.expect("it has entries").path();
        let copy = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_directory(&path, &copy);
        } else {
            fs::copy(&path, &copy).expect("a file can be copied");
        }
    }
}

/// As when a volume is restored from a snapshot, or a machine is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_put_back_from_an_older_copy_is_replaced() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 4, 4);
    load.recorder.more_acknowledged(100).await;
    let leader = cluster.leader(0).await;
    let follower = (leader + 1) % 3;
    let old = cluster.servers[follower].ready().await.replica;
    let copy = cluster.directory().join("copy");
    cluster.servers[follower].process.kill();
    copy_directory(&cluster.servers[follower].data_dir, &copy);
    cluster.servers[follower].process.start();
    cluster.servers[follower].ready().await;
    load.recorder.more_acknowledged(200).await;
    eventually("it has acknowledged more", || async {
        let leads = cluster.servers[leader].replica().await?;
        let peer = leads.peers.iter().find(|peer| peer.replica == old)?;
        (peer.matched?.index + 50 > leads.last_log?.index).then_some(())
    })
    .await;
    let term = cluster.servers[leader].replica().await.map(|replica| replica.term);

    cluster.servers[follower].process.kill();
    cluster.servers[follower].wipe();
    copy_directory(&copy, &cluster.servers[follower].data_dir);
    cluster.servers[follower].process.start();
    eventually("a new replica takes its place, unless the leader that remembers has gone", || async {
        let replica = cluster.servers[follower].replica().await.filter(|replica| replica.ready)?;
        let same_leader = cluster.servers[leader].replica().await.map(|replica| replica.term) == term;
        (replica.replica != old || !same_leader).then_some(())
    })
    .await;
    assert!(cluster.servers[leader].process.is_running());
    load.recorder.more_acknowledged(50).await;
    assert_linearizable(&load.finish(&cluster).await);
}
