//! The progress of the other replicas, as their leader reports it.

use std::collections::BTreeSet;
use std::time::Duration;

use skv_proto::v1;

use crate::cluster::{Cluster, until};

const LONG: Duration = Duration::from_mins(1);

/// Returns true if the status is a leader's, whose peers are exactly these.
fn leads_with(status: &v1::ReplicaStatus, others: &BTreeSet<u64>) -> bool {
    let peers: BTreeSet<u64> = status.peers.iter().map(|peer| peer.replica).collect();
    status.state() == v1::ReplicaState::Leader && peers == *others
}

fn index(log_id: Option<v1::LogId>) -> Option<u64> {
    log_id.map(|log_id| log_id.index)
}

/// Returns true if all peers answer and have the leader's whole log.
fn all_caught_up(status: &v1::ReplicaStatus) -> bool {
    status.peers.iter().all(|peer| {
        peer.silent_ms < 1000 && peer.matched.is_some() && index(peer.matched) == index(status.last_log)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_names_all_others_and_how_far_they_are() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("key", "value").await.unwrap();
    let mut ids = Vec::new();
    for index in 0..3 {
        ids.push(cluster.status(index).await.unwrap().replica);
    }
    let others = |index: usize| ids.iter().copied().filter(|id| *id != ids[index]).collect::<BTreeSet<u64>>();
    let old = cluster.leader().await;
    let is_whole = |status: &v1::ReplicaStatus| leads_with(status, &others(old)) && all_caught_up(status);
    cluster.await_status(old, "names the others, which have all", is_whole).await;

    // A new leader knows whom it leads from the first moment on, and soon how far they are.
    let new = (old + 1) % 3;
    cluster.transfer_leader(old, ids[new]).await;
    let first = loop {
        let status = cluster.status(new).await.unwrap();
        if status.state() == v1::ReplicaState::Leader {
            break status;
        }
    };
    assert!(leads_with(&first, &others(new)), "{first:?}");
    let is_whole = |status: &v1::ReplicaStatus| leads_with(status, &others(new)) && all_caught_up(status);
    cluster.await_status(new, "names the others, which have all", is_whole).await;
    for server in 0..3 {
        let ends_in_its_term = |status: &v1::ReplicaStatus| {
            status.term > 1 && status.last_log.is_some_and(|last| last.term == status.term)
        };
        cluster.await_status(server, "has the new leader's first entry", ends_in_its_term).await;
    }
    let retired = cluster.status(old).await.unwrap();
    assert!(retired.peers.is_empty(), "only a leader knows: {retired:?}");

    // A server that is gone falls silent and behind.
    let gone = (new + 1) % 3;
    cluster.stop(gone);
    clerk.put("key", "later").await.unwrap();
    until("the leader misses the one that is gone", || async {
        let status = cluster.status(new).await.unwrap();
        let peer = status.peers.iter().find(|peer| peer.replica == ids[gone]).unwrap();
        peer.silent_ms > 1000 && index(peer.matched) < index(status.last_log)
    })
    .await;
}
