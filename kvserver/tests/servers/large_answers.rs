//! Much is answered to few bytes: in frames of bounded size, and as the client takes them.

use std::collections::BTreeSet;
use std::time::Duration;

use skv_proto::v1;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::operation::Operation;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::cluster::Cluster;

const LONG: Duration = Duration::from_mins(1);
const MIB: usize = 1 << 20;
/// A frame has no more bytes than this, unless it is of one answer; with what frames it.
const FRAME: usize = MIB + 1024;

fn get(key: &'static str) -> Operation {
    Operation::Get(v1::GetRequest { key: key.into(), ..v1::GetRequest::default() })
}

fn append(key: &'static str) -> Operation {
    Operation::Append(v1::AppendRequest { key: key.into(), args: "x".into(), ..v1::AppendRequest::default() })
}

/// A stream of one client.
struct Stream {
    requests: mpsc::Sender<v1::PipelineRequest>,
    answers: Streaming<v1::PipelineResponse>,
}

impl Stream {
    async fn open(cluster: &Cluster) -> Stream {
        let kv = KvClient::connect(cluster.client_url(cluster.leader().await)).await.unwrap();
        let mut kv: KvClient<Channel> = kv.max_decoding_message_size(64 * MIB);
        let (requests, receiver) = mpsc::channel(1);
        let answers = kv.pipeline(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Stream { requests, answers }
    }

    /// Sends all operations in one frame.
    async fn send(&self, operations: impl IntoIterator<Item = Operation>) {
        let numbered = (1..).zip(operations);
        let operations = numbered.map(|(id, operation)| v1::Operation { id, operation: Some(operation) });
        self.requests.send(v1::PipelineRequest { operations: operations.collect() }).await.unwrap();
    }

    /// Reads that many answers with values of at least this size.
    async fn read(&mut self, count: usize, bytes: usize) {
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            let frame =
                self.answers.message().await.expect("the stream goes on").expect("it is open").answers;
            let mut total = 0;
            for v1::Answer { id, answer } in &frame {
                let value = match answer {
                    Some(Answer::Get(get)) => &get.value,
                    Some(Answer::Append(append)) => &append.old_value,
                    other => panic!("{other:?}"),
                };
                assert!(value.len() >= bytes, "{} bytes", value.len());
                assert!(seen.insert(*id), "{id} is answered twice");
                total += value.len();
            }
            assert!(total <= FRAME || frame.len() == 1, "a frame of {total} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_values_are_answered_in_frames_that_a_stream_takes() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("large", vec![b'v'; MIB - 100]).await.unwrap();
    clerk.put("medium", vec![b'v'; MIB / 3]).await.unwrap();
    let mut stream = Stream::open(&cluster).await;
    stream.send((0..70).map(|_| get("large"))).await;
    stream.read(70, MIB - 100).await;
    stream.send((0..70).map(|number| if number % 2 == 0 { append("large") } else { get("medium") })).await;
    stream.read(70, MIB / 3).await;

    let mut gets = JoinSet::new();
    for _ in 0..300 {
        let clerk = clerk.clone();
        gets.spawn(async move { clerk.get("medium").await.map(|got| got.value.len()) });
    }
    assert!(gets.join_all().await.into_iter().all(|got| got.is_ok_and(|length| length == MIB / 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_answers_holds_nobody_up_and_gets_them_all_later() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("large", vec![b'v'; MIB / 2]).await.unwrap();
    let mut slow = Stream::open(&cluster).await;
    slow.send((0..200).map(|number| if number % 4 == 0 { append("large") } else { get("large") })).await;
    for number in 0..20 {
        clerk.put("small", number.to_string()).await.unwrap();
        assert_eq!(clerk.get("small").await.unwrap().value, number.to_string());
    }
    slow.read(200, MIB / 2).await;
    assert_eq!(clerk.get("large").await.unwrap().value.len(), MIB / 2 + 50);
    slow.send([get("small")]).await;
    slow.read(1, 1).await;
}
