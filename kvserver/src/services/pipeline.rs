//! A pipeline: frames of operations in, frames of answers out, as they come and as the client
//! takes them.

use std::future::{Future, pending};
use std::sync::Arc;

use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, Stream, StreamExt as _};
use skv_listen::Overdue;
use skv_memory::{Charge, Tally};
use skv_proto::{Error, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use super::operations::request::size_of;
use super::operations::{Answers, Later, Operations, Part, Pending};
use super::outbox::{Outbox, Room};

/// Parts of frames that may be under way; beyond, nothing more is read from the stream.
const UNDER_WAY: usize = 4096;
/// Bytes of the frames that may be under way, if memory isn't scarce, and of the one that is read last. The
/// last part of a frame keeps all of its bytes.
const FRAMES: usize = 64 << 20;
/// Bytes of a frame beside those that are in use. Longer frames that use little are copied when they are
/// decoded.
const ENVELOPE: usize = 16 << 10;
/// Bytes of an operation beside its key and value.
const OPERATION: usize = 64;
/// Frames of answers that may wait for the client.
const OUTGOING: usize = 8;
/// Operations in one frame. Clerks send 256.
const MOST_OPERATIONS: usize = 8192;

/// Serves one stream until the client closes it or goes away. Once the listener is `closed`,
/// nothing more is read: what is under way is answered, and the stream ends.
pub(super) fn serve(
    operations: Operations,
    request: Request<Streaming<v1::PipelineRequest>>,
    closed: CancellationToken,
) -> BoxStream<'static, Result<v1::PipelineResponse, Status>> {
    let (outgoing, answers) = mpsc::channel(OUTGOING);
    let overdue = request.extensions().get::<Overdue>().cloned();
    let overdue = async move {
        match overdue {
            Some(overdue) => overdue.passed().await,
            None => pending().await,
        }
    };
    let frames = Frames { bytes: Tally::default(), most: operations.budget().server_buffer(FRAMES) as u64 };
    let carry_out = move |frame, room: &Room| operations.many(frame, room);
    tokio::spawn(run(carry_out, request.into_inner(), overdue, frames, closed, outgoing));
    ReceiverStream::new(answers).boxed()
}

/// The bytes of a stream's frames that are under way.
struct Frames {
    bytes: Tally,
    most: u64,
}

impl Frames {
    fn is_left(&self) -> bool {
        self.bytes.bytes() < self.most
    }

    /// Counts a frame until its last part is done.
    fn add(&self, frame: &v1::PipelineRequest) -> Arc<Charge> {
        let sizes = frame.operations.iter().map(|operation| operation.operation.as_ref().map_or(0, size_of));
        let bytes: usize = sizes.map(|size| OPERATION + size).sum();
        let charge = self.bytes.charge();
        charge.change(0, (ENVELOPE + bytes) as u64);
        Arc::new(charge)
    }
}

/// Carries a part of a frame out, which counts as under way until then.
async fn counted(part: Pending, frame: Arc<Charge>) -> Part {
    let part = part.await;
    drop(frame);
    part
}

/// A client that takes no answers holds up its own stream only: what was proposed is completed. When a
/// message is `overdue`, or nothing more is read for another reason, what has come of it is let go.
async fn run(
    carry_out: impl Fn(Vec<v1::Operation>, &Room) -> (Answers, Vec<Pending>),
    requests: impl Stream<Item = Result<v1::PipelineRequest, Status>> + Unpin,
    overdue: impl Future<Output = Status>,
    frames: Frames,
    closed: CancellationToken,
    outgoing: mpsc::Sender<Result<v1::PipelineResponse, Status>>,
) {
    let mut under_way = FuturesUnordered::new();
    let (room, mut outbox): (Room, Outbox<Later>) = (Room::new(), Outbox::default());
    let (mut requests, mut failure) = (Some(requests), None);
    let mut overdue = std::pin::pin!(overdue);
    while requests.is_some() || !under_way.is_empty() || !outbox.is_empty() {
        let open = requests.is_some();
        let has_room = under_way.len() < UNDER_WAY && frames.is_left() && outbox.has_room() && room.is_left();
        tokio::select! {
            () = closed.cancelled(), if open => requests = None,
            status = &mut overdue, if open => (requests, failure) = (None, Some(status)),
            request = next(&mut requests), if open && has_room => match request {
                Some(Ok(request)) if request.operations.len() > MOST_OPERATIONS => {
                    (requests, failure) = (None, Some(too_many(request.operations.len())));
                }
                Some(Ok(request)) => {
                    let frame = frames.add(&request);
                    let (answers, parts) = carry_out(request.operations, &room);
                    under_way.extend(parts.into_iter().map(|part| counted(part, frame.clone())));
                    outbox.add(answers, None);
                }
                None => requests = None,
                // What came before is answered all the same, and gives back the room that it has.
                Some(Err(status)) => (requests, failure) = (None, Some(status)),
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

async fn next<S: Stream + Unpin>(requests: &mut Option<S>) -> Option<S::Item> {
    requests.as_mut()?.next().await
}

fn too_many(count: usize) -> Status {
    Error::InvalidArgument(format!("a frame has {count} operations, the limit is {MOST_OPERATIONS}")).into()
}

fn add(outbox: &mut Outbox<Later>, Part { answers, place, later }: Part) {
    outbox.add(answers, place);
    if let Some(later) = later {
        outbox.add_source(later);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skv_proto::v1::operation::Operation;
    use tokio::time::timeout;

    use super::*;

    const IDLE: Duration = Duration::from_secs(1);

    type Requests = mpsc::Sender<Result<v1::PipelineRequest, Status>>;
    type Responses = mpsc::Receiver<Result<v1::PipelineResponse, Status>>;

    /// A frame with one operation of this many bytes.
    fn frame(bytes: usize) -> v1::PipelineRequest {
        let put = v1::PutRequest { key: "k".into(), value: vec![7; bytes].into(), ..Default::default() };
        v1::PipelineRequest {
            operations: vec![v1::Operation { id: 1, operation: Some(Operation::Put(put)) }],
        }
    }

    /// Starts a stream whose operations are answered once the barrier has fallen. Of its frames 64 KiB may be
    /// under way.
    fn stream(
        barrier: &CancellationToken,
        overdue: impl Future<Output = Status> + Send + 'static,
    ) -> (Requests, Responses) {
        let (sender, requests) = mpsc::channel(1);
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let frames = Frames { bytes: Tally::default(), most: 64 << 10 };
        let barrier = barrier.clone();
        let carry_out = move |operations: Vec<v1::Operation>, _: &Room| {
            let wait = |operation: v1::Operation| {
                let barrier = barrier.clone();
                async move {
                    barrier.cancelled().await;
                    let answers = vec![v1::Answer { id: operation.id, answer: None }];
                    Part { answers, ..Part::default() }
                }
                .boxed()
            };
            (Vec::new(), operations.into_iter().map(wait).collect())
        };
        let requests = ReceiverStream::new(requests);
        tokio::spawn(run(carry_out, requests, overdue, frames, CancellationToken::new(), outgoing));
        (sender, answers)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_more_is_read_while_the_frames_that_came_take_their_room() {
        for (length, taken) in [(40 << 10, 2), (1 << 10, 4), (1 << 20, 1)] {
            let barrier = CancellationToken::new();
            let (requests, mut answers) = stream(&barrier, pending());
            for _ in 0..taken {
                requests.send(Ok(frame(length))).await.unwrap();
            }
            // The next one waits in the channel.
            timeout(IDLE, requests.send(Ok(frame(length)))).await.expect("the others are read").unwrap();
            let is_read = timeout(IDLE, requests.reserve()).await.is_ok();
            assert!(!is_read, "more than {taken} frames of {length} bytes are read");

            barrier.cancel();
            timeout(IDLE, requests.reserve()).await.expect("it is read when there is room").unwrap();
            drop(requests);
            let mut answered = 0;
            while let Some(frame) = answers.recv().await {
                answered += frame.unwrap().answers.len();
            }
            assert_eq!(answered, taken + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_reads_nothing_lets_go_of_a_message_that_is_overdue() {
        let barrier = CancellationToken::new();
        let overdue = CancellationToken::new();
        let passed = overdue.clone().cancelled_owned().map(|()| Status::deadline_exceeded("overdue"));
        let (requests, mut answers) = stream(&barrier, passed);
        requests.send(Ok(frame(1 << 20))).await.unwrap();
        requests.send(Ok(frame(1 << 20))).await.unwrap();
        assert!(timeout(IDLE, requests.closed()).await.is_err());
        overdue.cancel();
        timeout(IDLE, requests.closed()).await.expect("it is let go");

        barrier.cancel();
        assert_eq!(answers.recv().await.unwrap().unwrap().answers.len(), 1, "what came before is answered");
        assert_eq!(answers.recv().await.unwrap().unwrap_err().message(), "overdue");
        assert!(answers.recv().await.is_none());
    }
}
