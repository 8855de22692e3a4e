//! Disks without space, or that open no file: refused before anything is proposed, and over by
//! itself.

use std::time::Duration;

use rustix::io::Errno;
use skv_client::{Clerk, Error};
use skv_disk::MemoryDisk;

use crate::cluster::Cluster;

const VALUE: usize = 64 << 10;
/// More than a server's two segments hold.
const PUTS: u32 = 200;
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_mins(1);

/// Puts keys until one is refused for want of space. Answers the acknowledged ones and the
/// refused one. A put on its way when the first follower runs full may stay unanswered, and
/// the leadership may change hands in search of space.
async fn fill(clerk: &Clerk) -> (Vec<u32>, u32) {
    let mut acknowledged = Vec::new();
    for count in 0..500 {
        match clerk.put(format!("k{count}"), vec![b'v'; VALUE]).await {
            Ok(_) => acknowledged.push(count),
            Err(Error::Refused(skv_proto::Error::DiskFull(_) | skv_proto::Error::Overloaded(_))) => {
                return (acknowledged, count);
            }
            Err(
                Error::OutcomeUnknown(_)
                | Error::NoLeader(_)
                | Error::Refused(skv_proto::Error::NotLeader { .. }),
            ) => {}
            Err(other) => panic!("put {count}: {other}"),
        }
    }
    panic!("nothing is ever refused");
}

async fn assert_all_there(clerk: &Clerk, keys: impl IntoIterator<Item = u32>) {
    for key in keys {
        assert_eq!(clerk.get(format!("k{key}")).await.unwrap().value.len(), VALUE, "k{key}");
    }
}

/// Writes are refused and reads served while the disks are as `spoil` makes them, and all goes on
/// after `mend`.
async fn refuse_serve_and_recover(spoil: impl Fn(&MemoryDisk), mend: impl Fn(&MemoryDisk)) {
    let cluster = Cluster::start().await;
    for server in &cluster.servers {
        spoil(&server.disk);
    }
    let (hasty, patient) = (cluster.clerk(SHORT), cluster.clerk(LONG));
    let (acknowledged, refused) = fill(&hasty).await;
    assert!(acknowledged.len() > 10, "only {acknowledged:?} fit");
    assert_all_there(&patient, acknowledged.clone()).await;
    // A refused write isn't there.
    assert!(!patient.get(format!("k{refused}")).await.unwrap().found);

    for server in &cluster.servers {
        mend(&server.disk);
    }
    patient.put("after", "x").await.unwrap();
    assert_all_there(&patient, acknowledged).await;
    assert!((0..3).all(|index| !cluster.has_ended(index)));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_disks_full_refuse_writes_serve_reads_and_recover() {
    let spoil = |disk: &MemoryDisk| disk.set_capacity(Some(disk.used()));
    refuse_serve_and_recover(spoil, |disk| disk.set_capacity(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_can_open_no_file_refuse_writes_serve_reads_and_recover() {
    let spoil = |disk: &MemoryDisk| disk.set_open_error(Some(Errno::MFILE));
    refuse_serve_and_recover(spoil, |disk| disk.set_open_error(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_open_no_file_when_it_starts_waits_until_it_can() {
    let mut cluster = Cluster::start().await;
    cluster.servers[0].disk.set_open_error(Some(Errno::MFILE));
    cluster.servers[0].restart().await;
    let waits = |status: &skv_proto::v1::ReplicaStatus| status.problem.contains("Too many open files");
    cluster.await_status(0, "waits", waits).await;
    cluster.servers[0].disk.set_open_error(None);
    cluster.await_status(0, "is ready", |status| status.ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_full_follower_holds_nobody_up_and_catches_up_later() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let full = (leader + 1) % 3;
    cluster.servers[full].disk.set_capacity(Some(cluster.servers[full].disk.used()));
    let clerk = cluster.clerk(LONG);
    for count in 0..PUTS {
        clerk.put(format!("k{count}"), vec![b'v'; VALUE]).await.unwrap();
    }
    cluster.await_status(full, "is full", |status| status.disk_full).await;

    cluster.servers[full].disk.set_capacity(None);
    let last = cluster.status(leader).await.unwrap().applied.unwrap().index;
    let caught_up = |status: &skv_proto::v1::ReplicaStatus| {
        status.applied.as_ref().is_some_and(|applied| applied.index >= last)
    };
    cluster.await_status(full, "has caught up", caught_up).await;
    assert!(!cluster.has_ended(full));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_leader_makes_way_for_one_with_space() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    cluster.servers[leader].disk.set_capacity(Some(cluster.servers[leader].disk.used()));
    let clerk = cluster.clerk(LONG);
    for count in 0..PUTS {
        clerk.put(format!("k{count}"), vec![b'v'; VALUE]).await.unwrap();
    }
    assert_all_there(&clerk, 0..PUTS).await;
}
