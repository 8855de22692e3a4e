//! A server that stops ends the streams that others hold open to it.

use std::future::Future;

use futures::stream::{self, StreamExt as _};
use skv_proto::v1;
use skv_proto::v1::append_entries_request::Message;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::operation::Operation;
use skv_proto::v1::raft_client::RaftClient;

use crate::cluster::{Cluster, PATIENCE};

/// Waits for what must come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}"))
}

/// Without this, each stop would last until the server's patience with its connections ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_the_streams_of_clerks_and_peers() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;

    let get = v1::GetRequest { key: b"key".to_vec().into(), ..Default::default() };
    let frame = v1::PipelineRequest {
        operations: vec![v1::Operation { id: 1, operation: Some(Operation::Get(get)) }],
    };
    let mut clerk = KvClient::connect(cluster.client_url(leader)).await.unwrap();
    let frames = stream::iter([frame]).chain(stream::pending());
    let mut answers = clerk.pipeline(frames).await.unwrap().into_inner();
    let answer = soon("the pipeline answers", answers.message()).await.unwrap().unwrap();
    assert_eq!(answer.answers[0].id, 1);

    let (own, other) =
        (cluster.status(leader).await.unwrap(), cluster.status((leader + 1) % 3).await.unwrap());
    let hello = v1::PeerHeader {
        cluster_id: own.cluster_id,
        group: own.group,
        group_uid: own.group_uid,
        incarnation: own.incarnation,
        from: other.replica,
        to: own.replica,
        versions: Some(v1::VersionRange { min: 1, max: 1 }),
        feature_level: 1,
    };
    let hello = v1::AppendEntriesRequest { message: Some(Message::Hello(hello)) };
    let mut peer = RaftClient::connect(cluster.peer_url(leader)).await.unwrap();
    let messages = stream::iter([hello]).chain(stream::pending());
    let mut results = peer.append_entries(messages).await.unwrap().into_inner();
    soon("the peer is accepted", results.message()).await.unwrap().unwrap();

    cluster.stop_and_wait(leader).await;
    assert_eq!(soon("the pipeline ends", answers.message()).await.unwrap(), None);
    assert_eq!(soon("the peer's stream ends", results.message()).await.unwrap(), None);
}
