//! A leader that no majority answers.

use skv_proto::v1::kv_client::KvClient;
use skv_proto::{Error, v1};

use crate::cluster::{Cluster, PATIENCE};

/// Each write would stay in its log with an unknown outcome, until the disk is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_no_majority_answers_refuses_writes_before_they_enter_its_log() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for index in others {
        cluster.stop_and_wait(index).await;
    }
    cluster.await_status(leader, "says that its quorum is lost", |status| status.quorum_lost_ms > 0).await;

    let before = cluster.status(leader).await.unwrap().last_log;
    let mut client = KvClient::connect(cluster.client_url(leader)).await.unwrap();
    let put = v1::PutRequest { key: "k".into(), value: "v".into(), direct: true, ..Default::default() };
    let refused = client.put(put).await.unwrap_err();
    assert!(matches!(Error::from_status(&refused), Some(Error::Unavailable(_))), "{refused}");
    assert_eq!(cluster.status(leader).await.unwrap().last_log, before);

    for index in others {
        cluster.servers[index].restart().await;
    }
    cluster.clerk(PATIENCE).put("k", "v").await.unwrap();
}
