//! A pipeline through a proxy: each operation and each answer in it has a fate of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::label::Label;
use super::state::State;

type Answers = Result<v1::PipelineResponse, Status>;

/// Opens a stream to the server, and relays until one of the two ends.
pub(super) async fn relay(
    mut server: KvClient<Channel>,
    state: Arc<State>,
    from_clerk: Streaming<v1::PipelineRequest>,
) -> Result<BoxStream<'static, Answers>, Status> {
    let (to_server, outgoing) = unbounded_channel();
    let from_server = server.pipeline(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
    let (to_clerk, answers) = unbounded_channel();
    state.count(|counts| counts.streams += 1);
    let link = Arc::new(Link { state, under_way: Mutex::default(), order: Orders::default() });
    tokio::spawn(Arc::clone(&link).carry_requests(from_clerk, to_server));
    tokio::spawn(link.carry_replies(from_server, to_clerk));
    Ok(UnboundedReceiverStream::new(answers).boxed())
}

struct Link {
    state: Arc<State>,
    under_way: Mutex<UnderWay>,
    order: Orders,
}

/// The operations that the server has, or will have. Each copy has an id of its own there, since
/// ids must be unique among a stream's outstanding operations.
#[derive(Default)]
struct UnderWay {
    last_id: u64,
    sent: HashMap<u64, Sent>,
}

struct Sent {
    /// The clerk's id of the operation.
    id: u64,
    label: Label,
}

#[derive(Default)]
struct Orders {
    requests: Order,
    replies: Order,
}

/// Detects messages that were overtaken.
#[derive(Default)]
struct Order {
    sent: AtomicU64,
    arrived: AtomicU64,
}

impl Order {
    /// Returns the number of the next message.
    fn next(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that a message of this number arrives; returns true if a later one already has.
    fn overtaken(&self, number: u64) -> bool {
        self.arrived.fetch_max(number, Ordering::Relaxed) > number
    }
}

impl Link {
    async fn carry_requests(
        self: Arc<Self>,
        mut from_clerk: Streaming<v1::PipelineRequest>,
        to_server: UnboundedSender<v1::PipelineRequest>,
    ) {
        while let Ok(Some(frame)) = from_clerk.message().await {
            for v1::Operation { id, operation } in frame.operations {
                let label = operation.as_ref().map(Label::of).unwrap_or_default();
                let number = self.order.requests.next();
                for delay in self.state.request(&label) {
                    let copy = Sent { id, label: label.clone() };
                    let operation = v1::Operation { id: self.send(copy), operation: operation.clone() };
                    let (link, to_server) = (Arc::clone(&self), to_server.clone());
                    tokio::spawn(async move {
                        sleep(delay).await;
                        if link.order.requests.overtaken(number) {
                            link.state.count(|counts| counts.requests.overtaken += 1);
                        }
                        // The server may be gone.
                        let _ = to_server.send(v1::PipelineRequest { operations: vec![operation] });
                    });
                }
            }
        }
    }

    /// Notes a copy, and returns its id at the server.
    fn send(&self, copy: Sent) -> u64 {
        let mut under_way = self.under_way.lock();
        under_way.last_id += 1;
        let id = under_way.last_id;
        under_way.sent.insert(id, copy);
        id
    }

    async fn carry_replies(
        self: Arc<Self>,
        mut from_server: Streaming<v1::PipelineResponse>,
        to_clerk: UnboundedSender<Answers>,
    ) {
        loop {
            let frame = match from_server.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(status) => {
                    // The clerk may be gone.
                    let _ = to_clerk.send(Err(status));
                    return;
                }
            };
            for v1::Answer { id, answer } in frame.answers {
                let Some(Sent { id, label }) = self.under_way.lock().sent.remove(&id) else { continue };
                let number = self.order.replies.next();
                for delay in self.state.reply(&label) {
                    let answer = v1::Answer { id, answer: answer.clone() };
                    let (link, to_clerk) = (Arc::clone(&self), to_clerk.clone());
                    tokio::spawn(async move {
                        sleep(delay).await;
                        if link.order.replies.overtaken(number) {
                            link.state.count(|counts| counts.replies.overtaken += 1);
                        }
                        let _ = to_clerk.send(Ok(v1::PipelineResponse { answers: vec![answer] }));
                    });
                }
            }
        }
    }
}
