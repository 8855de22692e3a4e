//! Replicas that are slow, or stand still, hold up nobody but themselves.

use std::time::Duration;

use skv_disk::MemoryDisk;
use skv_proto::v1;

use crate::cluster::{Cluster, until};

const SHORT: Duration = Duration::from_secs(5);
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);

fn index(log_id: Option<v1::LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

/// Without its log before the snapshot, a leader has to send that to whoever is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_gets_no_further_holds_up_no_change_of_members() {
    let mut cluster = Cluster::start().await;
    let clerk = cluster.clerk(SHORT);
    clerk.put("before", "x").await.unwrap();
    let leader = cluster.leader().await;
    let snapshot = v1::SnapshotRequest { group: 0 };
    cluster.admin(leader).await.unwrap().snapshot(snapshot).await.unwrap();
    let lost = (leader + 1) % 3;
    let dead = cluster.status(lost).await.unwrap();
    let disk = MemoryDisk::new();
    disk.set_sync_delay_in("snapshots", NEVER);
    cluster.servers[lost].restart_with(disk).await;
    let is_taught = |status: &v1::ReplicaStatus| {
        let others = status.peers.iter().filter(|peer| peer.server == format!("kv-g0-{lost}"));
        others.map(|peer| peer.replica).any(|replica| replica != dead.replica)
    };
    cluster.await_status(leader, "teaches a learner", is_taught).await;

    let removal = v1::RemoveReplicaRequest { group: 0, group_uid: dead.group_uid, replica: dead.replica };
    until("the dead voter is removed", || async {
        let mut admin = cluster.admin(leader).await.unwrap();
        admin.remove_replica(removal).await.is_ok()
    })
    .await;
    clerk.put("after", "x").await.unwrap();
    let voters = async || {
        let membership = cluster.status(leader).await.unwrap().membership.unwrap();
        membership
            .membership
            .unwrap()
            .configs
            .into_iter()
            .flat_map(|config| config.replicas)
            .collect::<Vec<_>>()
    };
    assert_eq!(voters().await.len(), 2, "a learner without the log has no vote");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_hangs_holds_nobody_up() {
    const PUTS: u32 = 100;
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let hanging = (leader + 1) % 3;
    let clerk = cluster.clerk(SHORT);
    clerk.put("before", "x").await.unwrap();
    cluster.servers[hanging].disk.hold_syncs();
    for count in 0..PUTS {
        clerk.put(format!("k{count}"), vec![b'v'; 16 << 10]).await.unwrap();
        clerk.get(format!("k{count}")).await.unwrap();
    }
    let last = index(cluster.status(leader).await.unwrap().applied);
    cluster.servers[hanging].disk.let_sync(1 << 20);
    let caught_up = |status: &v1::ReplicaStatus| index(status.applied) >= last;
    cluster.await_status(hanging, "has caught up", caught_up).await;
    assert!(!cluster.has_ended(hanging));
}
