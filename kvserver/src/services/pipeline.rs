//! One pipeline: frames of operations in, frames of answers out, as they come.

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use skv_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::operations::{Answers, Operations};

/// Parts of frames that may be under way; beyond, nothing more is read from the stream.
const UNDER_WAY: usize = 4096;
/// Frames of answers that may wait for the client.
const OUTGOING: usize = 16;

/// Serves one stream until the client closes it or goes away. Once the listener is `closed`,
/// nothing more is read: what is under way is answered, and the stream ends.
pub(super) fn serve(
    operations: Operations,
    requests: Streaming<v1::PipelineRequest>,
    closed: CancellationToken,
) -> BoxStream<'static, Result<v1::PipelineResponse, Status>> {
    let (outgoing, answers) = mpsc::channel(OUTGOING);
    tokio::spawn(run(operations, requests, closed, outgoing));
    ReceiverStream::new(answers).boxed()
}

async fn run(
    operations: Operations,
    mut requests: Streaming<v1::PipelineRequest>,
    closed: CancellationToken,
    outgoing: mpsc::Sender<Result<v1::PipelineResponse, Status>>,
) {
    let mut under_way: FuturesUnordered<BoxFuture<'static, Answers>> = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        let mut answers = tokio::select! {
            () = closed.cancelled(), if open => {
                open = false;
                continue;
            }
            request = requests.message(), if open && under_way.len() < UNDER_WAY => match request {
                Ok(Some(request)) => {
                    let (answers, pending) = operations.many(request.operations);
                    under_way.extend(pending);
                    answers
                }
                Ok(None) => {
                    open = false;
                    continue;
                }
                Err(status) => {
                    let _ = outgoing.send(Err(status)).await;
                    return;
                }
            },
            Some(answers) = under_way.next() => answers,
        };
        // What is ready by now goes into the same frame.
        while let Some(Some(more)) = under_way.next().now_or_never() {
            answers.extend(more);
        }
        if !answers.is_empty() && outgoing.send(Ok(v1::PipelineResponse { answers })).await.is_err() {
            return;
        }
    }
}
