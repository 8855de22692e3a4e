//! A pipeline: frames of operations in, frames of answers out, as they come and as the client
//! takes them.

use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use skv_proto::{Error, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::operations::{Operations, Part, Pending, Reads};
use super::outbox::{Outbox, Room};

/// Parts of frames that may be under way; beyond, nothing more is read from the stream.
const UNDER_WAY: usize = 4096;
/// Frames of answers that may wait for the client.
const OUTGOING: usize = 8;
/// Operations in one frame. Clerks send 256.
const MOST_OPERATIONS: usize = 8192;

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

/// A client that takes no answers holds up its own stream only: what was proposed is completed.
async fn run(
    operations: Operations,
    mut requests: Streaming<v1::PipelineRequest>,
    closed: CancellationToken,
    outgoing: mpsc::Sender<Result<v1::PipelineResponse, Status>>,
) {
    let mut under_way: FuturesUnordered<Pending> = FuturesUnordered::new();
    let (room, mut outbox): (Room, Outbox<Reads>) = (Room::new(), Outbox::default());
    let (mut open, mut failure) = (true, None);
    while open || !under_way.is_empty() || !outbox.is_empty() {
        let may_take = open && under_way.len() < UNDER_WAY && outbox.has_room() && room.is_left();
        tokio::select! {
            () = closed.cancelled(), if open => open = false,
            request = requests.message(), if may_take => match request {
                Ok(Some(request)) if request.operations.len() > MOST_OPERATIONS => {
                    (open, failure) = (false, Some(too_many(request.operations.len())));
                }
                Ok(Some(request)) => {
                    let (answers, pending) = operations.many(request.operations, &room);
                    under_way.extend(pending);
                    outbox.add(answers, None);
                }
                Ok(None) => open = false,
                // What came before is answered all the same, and gives back the room that it has.
                Err(status) => (open, failure) = (false, Some(status)),
            },
            Some(part) = under_way.next() => add(&mut outbox, part),
            place = outgoing.reserve(), if !outbox.is_empty() => {
                let Ok(place) = place else { return };
                // What is ready by now goes into the same frame.
                while let Some(Some(part)) = under_way.next().now_or_never() {
                    add(&mut outbox, part);
                }
                place.send(Ok(v1::PipelineResponse { answers: outbox.next_frame() }));
            }
        }
    }
    if let Some(status) = failure {
        // The client may have gone.
        let _ = outgoing.send(Err(status)).await;
    }
}

fn too_many(count: usize) -> Status {
    Error::InvalidArgument(format!("a frame has {count} operations, the limit is {MOST_OPERATIONS}")).into()
}

fn add(outbox: &mut Outbox<Reads>, part: Part) {
    match part {
        Part::Answers(answers, place) => outbox.add(answers, place),
        Part::Reads(reads) => outbox.add_source(reads),
    }
}
