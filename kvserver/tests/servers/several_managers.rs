//! Shard managers that share a record, but not what they hear.

use std::time::Duration;

use crate::cluster::{Cluster, until};

const LONG: Duration = Duration::from_mins(1);

/// Each server finds another manager first, and no manager may found or admit anything
/// before it has heard all servers.
#[tokio::test(flavor = "multi_thread")]
async fn two_managers_found_a_cluster_and_admit_a_replacement() {
    let mut cluster = Cluster::with_managers(2).await;
    let clerk = cluster.clerk(LONG);
    clerk.put("key", "value").await.unwrap();
    for index in 0..3 {
        let before = cluster.status(index).await.unwrap().replica;
        cluster.servers[index].lose_disk().await;
        cluster
            .await_status(index, "is a new replica", |status| status.ready && status.replica != before)
            .await;
    }
    // Nobody is left who was there when the key was written.
    until("the key can be read", || async { clerk.get("key").await.is_ok_and(|got| got.value == "value") })
        .await;
}
