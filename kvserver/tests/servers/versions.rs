//! Servers of different versions: no group commits for another's shard what it doesn't know.

use std::time::Duration;

use skv_proto::v1;
use skv_raft::header::FEATURE_LEVEL;

use crate::cluster::{Cluster, until};
use crate::resharding::{groups, map, shards};

const LONG: Duration = Duration::from_mins(1);
const NEXT_LEVEL: u32 = FEATURE_LEVEL + 1;

/// The second group has no part of any shard.
async fn nothing_came(cluster: &Cluster) {
    let status = cluster.status(cluster.leader_of(1).await).await.unwrap();
    assert_eq!((status.shards_arriving, status.shards_owned), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_waits_until_all_servers_of_its_target_are_of_its_sources_version() {
    let mut cluster = Cluster::start().await;
    cluster.start_group().await;
    groups(&cluster, 2).await;
    let clerk = cluster.clerk(LONG);
    clerk.put("key", "value").await.unwrap();
    // The source is updated first.
    for server in 0..3 {
        cluster.servers[server].update(NEXT_LEVEL).await;
        cluster.await_status(server, "is ready", |status| status.ready).await;
    }
    let join = v1::JoinRequest { groups: vec![1], ..Default::default() };
    cluster.manager().await.join(join).await.unwrap();
    until("the source has the list", || async {
        cluster.status(cluster.leader().await).await.is_some_and(|status| status.shards_queued == 4)
    })
    .await;
    assert!(map(&cluster).await.moving == 4);
    // The target is updated, one server after the other.
    for server in 3..6 {
        nothing_came(&cluster).await;
        assert_eq!(clerk.get("key").await.unwrap().value, "value", "the source serves meanwhile");
        cluster.servers[server].update(NEXT_LEVEL).await;
        cluster.await_status(server, "is ready", |status| status.ready).await;
    }
    shards(&cluster, &[4, 4]).await;
    assert_eq!(clerk.get("key").await.unwrap().value, "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_goes_to_a_newer_group_at_once() {
    let mut cluster = Cluster::start().await;
    cluster.start_group().await;
    groups(&cluster, 2).await;
    for server in 3..6 {
        cluster.servers[server].update(NEXT_LEVEL).await;
        cluster.await_status(server, "is ready", |status| status.ready).await;
    }
    let join = v1::JoinRequest { groups: vec![1], ..Default::default() };
    cluster.manager().await.join(join).await.unwrap();
    shards(&cluster, &[4, 4]).await;
}
