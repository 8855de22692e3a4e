//! The stream of heartbeats to one peer.

use std::collections::VecDeque;

use openraft::errors::{NetworkError, RPCError};
use openraft::raft::AppendEntriesRequest;
use skv_proto::v1;
use skv_sharding::ReplicaId;
use tokio::sync::{mpsc, oneshot};

use crate::append;
use crate::peer::{NetworkFactory, Peer, StreamItem, rpc_error};
use crate::types::TypeConfig;

/// The number of heartbeats that may wait for a connection.
const HEARTBEAT_QUEUE: usize = 8;

/// A lasting stream for heartbeats: openraft asks for a new one for each, which would cost
/// every ReadIndex round the opening of a stream.
#[derive(Clone)]
pub(super) struct HeartbeatStream {
    queue: mpsc::Sender<Heartbeat>,
}

struct Heartbeat {
    request: AppendEntriesRequest<TypeConfig>,
    answer: oneshot::Sender<StreamItem>,
}

impl HeartbeatStream {
    /// Starts the stream's task, which ends when the stream is dropped.
    pub(super) fn spawn(peer: Peer) -> Self {
        let (queue, heartbeats) = mpsc::channel(HEARTBEAT_QUEUE);
        tokio::spawn(run_heartbeats(peer, heartbeats));
        HeartbeatStream { queue }
    }

    pub(super) async fn send(&self, request: AppendEntriesRequest<TypeConfig>) -> StreamItem {
        let (answer, answered) = oneshot::channel();
        let lost = || RPCError::Network(NetworkError::from_string("the heartbeat stream broke"));
        self.queue.send(Heartbeat { request, answer }).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())?
    }
}

async fn run_heartbeats(mut peer: Peer, mut heartbeats: mpsc::Receiver<Heartbeat>) {
    let (factory, target) = (peer.factory.clone(), peer.target);
    while let Some(first) = heartbeats.recv().await {
        // A heartbeat that waited while there was no connection has no meaning any more.
        if first.answer.is_closed() {
            continue;
        }
        let (requests, outgoing) = mpsc::channel(HEARTBEAT_QUEUE);
        match peer.open(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await {
            Ok(responses) => {
                serve_heartbeats(&factory, target, first, &mut heartbeats, requests, responses).await;
            }
            Err(error) => {
                let _ = first.answer.send(Err(error));
            }
        }
    }
}

/// Passes heartbeats on until the stream breaks; answers come in the order of the requests.
async fn serve_heartbeats(
    factory: &NetworkFactory,
    target: ReplicaId,
    first: Heartbeat,
    heartbeats: &mut mpsc::Receiver<Heartbeat>,
    requests: mpsc::Sender<v1::append_entries_request::Append>,
    mut responses: tonic::Streaming<v1::AppendEntriesResponse>,
) {
    let mut waiting = VecDeque::new();
    let mut next = Some(first);
    loop {
        if let Some(Heartbeat { request, answer }) = next.take() {
            if requests.send(append::to_wire(&request)).await.is_err() {
                return;
            }
            waiting.push_back((request.vote, answer));
        }
        tokio::select! {
            heartbeat = heartbeats.recv(), if waiting.len() < HEARTBEAT_QUEUE => match heartbeat {
                Some(heartbeat) => next = Some(heartbeat),
                None => return,
            },
            message = responses.message() => {
                let asked = waiting.pop_front();
                match message {
                    Ok(Some(response)) => {
                        if let Some((leader, answer)) = asked {
                            let _ = answer.send(factory.hear(target, &leader, response));
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        if let Some((_, answer)) = asked {
                            let _ = answer.send(Err(rpc_error(&status)));
                        }
                        return;
                    }
                }
            }
        }
    }
}
