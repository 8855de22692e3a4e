//! Shard managers that share a record, but not what they hear.

use std::time::Duration;

use crate::cluster::Cluster;

const LONG: Duration = Duration::from_mins(1);

/// Each server finds another manager first, and no manager may found or admit anything
/// before it has heard all servers.
#[tokio::test(flavor = "multi_thread")]
async fn two_managers_found_a_cluster_and_admit_a_replacement() {
    let mut cluster = Cluster::with_managers(2).await;
    cluster.clerk(LONG).put("key", "value").await.unwrap();
    for index in 0..3 {
        let before = cluster.status(index).await.unwrap().replica;
        cluster.servers[index].lose_disk().await;
        cluster.await_successor(index, before).await;
    }
    // Nobody is left who was there when the key was written. A clerk of its own, since stopped
    // servers live on in this process for whoever is connected to them.
    assert_eq!(cluster.clerk(LONG).get("key").await.unwrap().value, "value");
}
