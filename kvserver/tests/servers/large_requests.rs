//! Frames of any size, and messages that would be gigabytes once they are decoded.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use skv_proto::v1::answer::Answer;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::cluster::Cluster;

const LONG: Duration = Duration::from_mins(1);
const MIB: usize = 1 << 20;

/// Sends bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).into()))
    }
}

/// Sends one message on a stream or as a call; returns why it was refused.
async fn refusal(url: String, path: &'static str, message: Vec<u8>) -> Error {
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = Grpc::new(channel).max_encoding_message_size(usize::MAX);
    client.ready().await.unwrap();
    let sent = Request::new(tokio_stream::iter([message]));
    let answered = client.streaming(sent, path.parse().unwrap(), Raw).await;
    let refused = match answered {
        Ok(answers) => {
            let mut answers = answers.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{path} took it"),
                    Err(refused) => break refused,
                }
            }
        }
        Err(refused) => refused,
    };
    Error::from_status(&refused).unwrap_or_else(|| panic!("{path}: {refused}"))
}

/// An empty element of a list, this many times, within these fields.
fn nothing(fields: &[u8], times: usize) -> Vec<u8> {
    let (last, outer) = fields.split_last().unwrap();
    let inner = [last << 3 | 2, 0].repeat(times);
    outer.iter().rev().fold(inner, |inner, field| {
        let mut message = vec![field << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut message);
        message.extend(inner);
        message
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_nothing_a_million_times_is_refused_before_it_is_decoded() {
    let cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    for (url, path, fields) in [
        (cluster.client_url(0), "/shardedkv.v1.Kv/Pipeline", &[1][..]),
        (cluster.peer_url(0), "/shardedkv.v1.Raft/AppendEntries", &[2, 3]),
        (cluster.peer_url(0), "/shardedkv.v1.Handoff/TakeStep", &[2, 7, 1]),
        (cluster.peer_url(0), "/shardedkv.v1.Handoff/TakeStep", &[2, 8, 1, 3, 5]),
    ] {
        let refused = refusal(url, path, nothing(fields, 8 << 20)).await;
        let text = refused.to_string();
        assert!(matches!(refused, Error::InvalidArgument(_)) && text.contains("several messages"), "{text}");
    }
    clerk.put("key", "value").await.unwrap();
    assert!((0..3).all(|server| !cluster.has_ended(server)));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_operations_than_a_frame_may_have_end_the_stream_after_what_came_before() {
    let cluster = Cluster::start().await;
    cluster.clerk(LONG).put("key", "value").await.unwrap();
    let mut kv = KvClient::connect(cluster.client_url(cluster.leader().await)).await.unwrap();
    let frame = |count: u64| {
        let get = Operation::Get(v1::GetRequest { key: "key".into(), ..Default::default() });
        let operations = (1..=count).map(|id| v1::Operation { id, operation: Some(get.clone()) });
        v1::PipelineRequest { operations: operations.collect() }
    };
    let frames = tokio_stream::iter([frame(8192), frame(8193)]);
    let mut answers = kv.pipeline(frames).await.unwrap().into_inner();
    let mut seen = 0;
    let refused = loop {
        match answers.message().await {
            Ok(Some(frame)) => seen += frame.answers.len(),
            Ok(None) => panic!("the stream ended without a reason"),
            Err(refused) => break Error::from_status(&refused).unwrap(),
        }
    };
    assert_eq!(seen, 8192);
    assert!(refused.to_string().contains("8193 operations, the limit is 8192"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_memory_is_scarce_a_message_that_would_take_too_much_of_it_is_refused() {
    let mut cluster = Cluster::start().await;
    cluster.servers[0].limit_memory(Some(128 << 20)).await;
    cluster.await_status(0, "is ready", |status| status.ready).await;
    let kv = KvClient::connect(cluster.client_url(0)).await.unwrap();
    let mut kv = kv.max_encoding_message_size(64 * MIB);
    let put =
        |bytes| v1::PutRequest { key: "k".into(), value: vec![b'v'; bytes].into(), ..Default::default() };
    let refused = kv.put(put(21 * MIB)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert!(refused.message().contains("the limit is"), "{refused}");
    // The largest value that a group may allow isn't too long a message for any server.
    let refused = kv.put(put(16 * MIB)).await.unwrap_err();
    assert!(matches!(Error::from_status(&refused), Some(Error::InvalidArgument(_))), "{refused}");

    let operation = Some(Operation::Put(put(21 * MIB)));
    let frame = v1::PipelineRequest { operations: vec![v1::Operation { id: 1, operation }] };
    let mut answers = kv.pipeline(tokio_stream::iter([frame])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::OutOfRange);
    cluster.clerk(LONG).put("key", "value").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_more_writes_than_the_log_takes_in_an_entry_is_split() {
    let cluster = Cluster::start().await;
    let mut kv = KvClient::connect(cluster.client_url(cluster.leader().await))
        .await
        .unwrap()
        .max_encoding_message_size(64 * MIB);
    let put = |id: u64| {
        let (key, value) = (format!("key{id}").into_bytes().into(), vec![b'v'; MIB - 10].into());
        v1::Operation {
            id,
            operation: Some(Operation::Put(v1::PutRequest { key, value, ..Default::default() })),
        }
    };
    // The log of these servers takes less than 4 MiB.
    let frame = v1::PipelineRequest { operations: (1..=17).map(put).collect() };
    let mut answers = kv.pipeline(tokio_stream::iter([frame])).await.unwrap().into_inner();
    let mut written = BTreeSet::new();
    while let Some(frame) = answers.message().await.unwrap() {
        for v1::Answer { id, answer } in frame.answers {
            assert!(matches!(answer, Some(Answer::Put(ref put)) if put.success), "{id}: {answer:?}");
            written.insert(id);
        }
    }
    assert_eq!(written, (1..=17).collect());
    assert_eq!(cluster.clerk(LONG).get("key17").await.unwrap().value.len(), MIB - 10);
}
