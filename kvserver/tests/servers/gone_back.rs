//! A replica whose disk went back in time: its log lacks what it once acknowledged.

use std::time::Duration;

use skv_proto::v1;

use crate::cluster::Cluster;

const LONG: Duration = Duration::from_mins(1);

fn index(log_id: Option<v1::LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

async fn await_all(cluster: &Cluster, server: usize, leader: usize) {
    let last = index(cluster.status(leader).await.unwrap().last_log);
    cluster.await_status(server, "has the whole log", |status| index(status.applied) >= last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_recognised_by_its_leader_and_begins_again_as_a_new_replica() {
    let mut cluster = Cluster::start().await;
    let (clerk, leader) = (cluster.clerk(LONG), cluster.leader().await);
    let (follower, term) = ((leader + 1) % 3, cluster.status(leader).await.unwrap().term);
    for key in 0..20 {
        clerk.put(format!("before-{key}"), "value").await.unwrap();
    }
    await_all(&cluster, follower, leader).await;
    cluster.stop_and_wait(follower).await;
    let copy = cluster.servers[follower].disk.copy();
    cluster.servers[follower].restart().await;
    for key in 0..50 {
        clerk.put(format!("after-{key}"), "value").await.unwrap();
    }
    await_all(&cluster, follower, leader).await;
    let old = cluster.status(follower).await.unwrap().replica;

    cluster.servers[follower].restart_with(copy).await;
    cluster.await_successor(follower, old).await;
    cluster.await_status(follower, "has all keys", |status| status.keys == 70).await;
    let leads = cluster.status(leader).await.unwrap();
    assert_eq!((leads.leads_a_quorum(), leads.term), (true, term), "its leader goes on");
    assert!((0..3).all(|index| !cluster.has_ended(index)));
    let has_replaced = |status: &v1::ReplicaStatus| status.peers.iter().all(|peer| peer.replica != old);
    cluster.await_status(leader, "has it in the place of the old one", has_replaced).await;

    // The new one counts: with it alone the leader has a quorum.
    cluster.stop_and_wait((leader + 2) % 3).await;
    clerk.put("last", "value").await.unwrap();
}

/// There is no leader that remembers, and nothing is missing: it goes on as what it was.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_returns_stays_what_it_was() {
    let mut cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("key", "value").await.unwrap();
    let mut before = Vec::new();
    for index in 0..3 {
        before.push(cluster.status(index).await.unwrap().replica);
        cluster.stop_and_wait(index).await;
    }
    for index in 0..3 {
        cluster.servers[index].restart().await;
    }
    for (index, before) in before.into_iter().enumerate() {
        cluster.await_status(index, "is ready", |status| status.ready && status.replica == before).await;
    }
    assert_eq!(clerk.get("key").await.unwrap().value, "value");
}
