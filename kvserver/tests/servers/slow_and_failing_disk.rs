//! Disks that sync slowly, or not at all.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use skv_disk::Disk as _;
use skv_proto::v1;

use crate::cluster::{Cluster, until};

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_fails_ends_and_the_others_go_on() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("before", "x").await.unwrap();
    let leader = cluster.leader().await;
    cluster.servers[leader].disk.set_sync_error(Some(ErrorKind::Other));
    for count in 0..10 {
        clerk.append("key", format!("{count};")).await.unwrap();
    }
    until("the server has ended", || async { cluster.has_ended(leader) }).await;
    assert_eq!(clerk.get("key").await.unwrap().value, "0;1;2;3;4;5;6;7;8;9;");
    assert_eq!(clerk.get("before").await.unwrap().value, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_disks_slow_writes_and_break_nothing() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    for server in &cluster.servers {
        server.disk.set_sync_delay(Duration::from_millis(100));
    }
    for count in 0..10 {
        clerk.append("key", format!("{count};")).await.unwrap();
    }
    assert_eq!(clerk.get("key").await.unwrap().value, "0;1;2;3;4;5;6;7;8;9;");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_covers_what_was_applied_while_another_was_written() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    for count in 0..4 {
        clerk.put(format!("large-{count}"), vec![b'v'; 1 << 20]).await.unwrap();
    }
    let leader = cluster.leader().await;
    let snapshot = async || {
        let request = v1::SnapshotRequest { group: 0 };
        cluster.admin(leader).await.unwrap().snapshot(request).await.unwrap().into_inner().snapshot.unwrap()
    };
    // Some seconds for a snapshot, a few tenths for a put.
    let disk = &cluster.servers[leader].disk;
    disk.set_sync_delay(Duration::from_millis(100));
    let is_written = async || {
        let files = disk.list(Path::new("/data/g0/snapshots")).unwrap();
        files.iter().any(|file| file.extension().is_some_and(|extension| extension == "tmp"))
    };
    let while_it_is_written = async {
        until("a snapshot is being written", is_written).await;
        clerk.put("late", "x").await.unwrap();
        // A replica says a moment later than it answers that an entry is applied.
        let late = cluster.status(leader).await.unwrap().last_log.unwrap().index;
        let is_applied = |status: &v1::ReplicaStatus| status.applied.is_some_and(|id| id.index >= late);
        cluster.await_status(leader, "has applied the put", is_applied).await;
        (late, snapshot().await)
    };
    let (first, (late, second)) = tokio::join!(snapshot(), while_it_is_written);
    assert!(first.index < late, "{first:?} wasn't being written when {late} was applied");
    assert!(second.index >= late, "{second:?} doesn't cover {late}");
    // A caller that asks once more gets an answer too, although there is nothing new to write.
    assert!(snapshot().await.index >= second.index);
}
