//! Servers on disks that are full, slow or failing: no acknowledged write is lost, and requests
//! that can be served are.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use skv_client::{Clerk, Error};
use skv_process::{Cluster, Load, Settings, eventually};

const VALUE: usize = 64 << 10;

fn faults_of(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.directory().join(format!("faults-{index}"))
}

/// Gives a server's disk these faults from now on.
fn set_faults(cluster: &Cluster, index: usize, faults: &str) {
    // This is a single step: the server reads the file at any time.
    let (path, new) = (faults_of(cluster, index), cluster.directory().join("new-faults"));
    fs::write(&new, faults).expect("a file can be written");
    fs::rename(&new, &path).expect("a file can be renamed");
}

/// Starts a cluster whose disks can be given faults.
async fn start() -> Cluster {
    let mut cluster = Cluster::new(&Settings::default());
    for index in 0..cluster.servers.len() {
        let flag = format!("--disk-faults={}", faults_of(&cluster, index).display());
        cluster.servers[index].process.set_arguments(|arguments| arguments.push(flag));
    }
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    cluster
}

fn hasty_clerk(cluster: &Cluster) -> Clerk {
    let mut options = cluster.clerk_options();
    options.deadline = Duration::from_millis(500);
    Clerk::connect(options).expect("the options are right")
}

/// Puts keys from this one on until one is refused for want of space. Returns the acknowledged
/// ones.
async fn put_until_full(cluster: &Cluster, first: u32) -> Vec<u32> {
    let clerk = hasty_clerk(cluster);
    let mut acknowledged = Vec::new();
    for key in first..first + 1000 {
        match clerk.put(format!("k{key}"), vec![b'v'; VALUE]).await {
            Ok(_) => acknowledged.push(key),
            Err(Error::Refused(skv_proto::Error::DiskFull(_))) => return acknowledged,
            // The servers find out one after the other.
            Err(_) => {}
        }
    }
    panic!("the disks never get full");
}

async fn assert_all_there(clerk: &Clerk, keys: &[u32]) {
    for key in keys {
        assert_eq!(clerk.get(format!("k{key}")).await.expect("a get").value.len(), VALUE, "k{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_refuse_writes_also_after_a_restart_and_recover_without_one() {
    let mut cluster = start().await;
    let everywhere = 0..cluster.servers.len();
    for index in everywhere.clone() {
        set_faults(&cluster, index, "full");
    }
    let mut acknowledged = put_until_full(&cluster, 0).await;
    assert!(acknowledged.len() > 10, "only {acknowledged:?} fit");
    let clerk = cluster.clerk();
    assert_all_there(&clerk, &acknowledged).await;

    cluster.kill_all();
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    assert_all_there(&clerk, &acknowledged).await;
    acknowledged.extend(put_until_full(&cluster, 1000).await);
    assert_all_there(&clerk, &acknowledged).await;

    for index in everywhere {
        set_faults(&cluster, index, "");
    }
    clerk.put("after", "x").await.expect("there is space again");
    assert_all_there(&clerk, &acknowledged).await;
    assert!(cluster.servers.iter_mut().all(|server| server.process.is_running()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_of_one_server_harms_nobody() {
    let cluster = start().await;
    let load = Load::start(&cluster, 6, 6);
    for index in 0..cluster.servers.len() {
        load.recorder.more_acknowledged(50).await;
        set_faults(&cluster, index, "slow-sync 200");
        load.recorder.more_acknowledged(50).await;
        set_faults(&cluster, index, "");
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_fails_stops_and_the_others_go_on() {
    let mut cluster = start().await;
    let load = Load::start(&cluster, 6, 6);
    load.recorder.more_acknowledged(100).await;
    let leader = cluster.leader(0).await;
    set_faults(&cluster, leader, "failing-sync");
    load.recorder.more_acknowledged(100).await;
    let status = cluster.servers[leader].process.wait().await;
    assert!(!status.success(), "{status}");
    eventually("the log names the failure", || async {
        cluster.servers[leader].process.log().contains("the sync fails as asked for").then_some(())
    })
    .await;

    set_faults(&cluster, leader, "");
    cluster.servers[leader].process.start();
    cluster.servers[leader].ready().await;
    load.finish_right(&cluster).await;
}
