//! Large messages on their way in.
//!
//! A message is assembled before it can be judged, and any number of clients may have begun one of the
//! largest size. So the large messages of a listener share a room: a message without a place in it isn't
//! read, and its client waits. Small messages need no place.
//!
//! What isn't read is there all the same: HTTP/2 takes it, up to the window of its stream. So a limited
//! number of messages wait. More are refused at once, which frees what has come of them.
//!
//! A place is time that others wait. So it has a timer of its own, which measures progress: it runs also
//! while nobody asks for the rest of the message, as a service does whose client takes no answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce, watch};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

/// The number of large messages of one listener that may wait for a place. Each has up to the window of a
/// stream in memory.
pub const MOST_WAITING: usize = 128;

/// Longer messages need a place.
const SMALL: usize = 1 << 20;
/// The bytes of a large message, or the rest of it, that come in [`STALL`] at least.
const STEP: usize = 1 << 20;
/// The time for each step of a large message.
const STALL: Duration = Duration::from_secs(10);
/// The bytes before each message of gRPC: a flag and a length.
const HEADER: usize = 5;

/// The room for large messages of one listener.
#[derive(Debug, Clone)]
pub struct Assembly {
    places: Arc<Semaphore>,
    /// The messages that may begin to wait.
    waiting: Arc<Semaphore>,
    /// The bytes that a message may have.
    longest: usize,
    /// Makes the refusal of a message beside which too many others wait.
    refusal: fn() -> Status,
}

/// The end of a request whose large message didn't come on. It is an extension of each request that
/// was [bound](Assembly::bound), for services that don't always read: what has come of the message takes
/// memory until they let go of it.
#[derive(Debug, Clone, Default)]
pub struct Overdue(Arc<SetOnce<()>>);

impl Overdue {
    /// Returns the status of the request once it has ended for that reason, and never otherwise.
    pub async fn passed(self) -> Status {
        self.0.wait().await;
        Status::deadline_exceeded("the rest of a large message didn't come")
    }
}

impl Assembly {
    /// Makes a room of this many bytes, for messages of at most `longest`, or of the whole room. A message
    /// that would have to wait beside too many others ends with `refusal`.
    pub fn new(room: usize, longest: usize, refusal: fn() -> Status) -> Assembly {
        let (places, waiting) = (Semaphore::new(room), Semaphore::new(MOST_WAITING));
        let (places, waiting) = (Arc::new(places), Arc::new(waiting));
        Assembly { places, waiting, longest: longest.min(room), refusal }
    }

    /// Lets the large messages of a request take their places, and adds [`Overdue`] to it.
    pub fn bound(&self, mut request: Request<Body>) -> Request<Body> {
        let overdue = Overdue::default();
        request.extensions_mut().insert(overdue.clone());
        let assembly = self.clone();
        request.map(|body| {
            Body::new(Messages { body, assembly, overdue, large: None, reader: Reader::default() })
        })
    }

    /// Waits for a place for a message of this many bytes, as one of those that may.
    async fn place(self, length: usize, waits: OwnedSemaphorePermit, overdue: Overdue) -> Option<Place> {
        let permits = u32::try_from(length).ok()?;
        let permit = self.places.acquire_many_owned(permits).await.ok()?;
        drop(waits);
        let (steps, taken) = watch::channel(());
        tokio::spawn(hold(permit, taken, overdue.clone()));
        Some(Place { steps, bytes: 0, overdue: overdue.passed().boxed() })
    }
}

/// Holds a place until its message is whole or its request has ended, or until it doesn't come on.
async fn hold(_permit: OwnedSemaphorePermit, mut steps: watch::Receiver<()>, overdue: Overdue) {
    loop {
        match timeout(STALL, steps.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                // Only the first message that doesn't come on says so.
                let _ = overdue.0.set(());
                return;
            }
        }
    }
}

/// The place of a message. It is given back when this is dropped, or by its timer.
struct Place {
    steps: watch::Sender<()>,
    /// The bytes that came since the last step.
    bytes: usize,
    /// The end of the request, once the place was given back by its timer.
    overdue: BoxFuture<'static, Status>,
}

impl Place {
    fn take(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= STEP {
            self.bytes %= STEP;
            self.steps.send_replace(());
        }
    }
}

/// The messages of one request.
struct Messages {
    body: Body,
    assembly: Assembly,
    overdue: Overdue,
    /// The large message that has begun. Nearly all messages are small, and cost nothing more here.
    large: Option<Large>,
    reader: Reader,
}

/// The state of a large message.
enum Large {
    /// It waits for its place, with the bytes in which it begins.
    Waiting(BoxFuture<'static, Option<Place>>, Bytes),
    /// It is being assembled.
    Placed(Place),
    /// Nothing more is read, for this reason.
    Refused(Status),
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    /// Returns the next bytes, once the message that begins in them has its place.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.large.take() {
            None => {}
            Some(Large::Waiting(place, begun)) => return self.wait(place, begun, cx),
            Some(Large::Placed(mut place)) => {
                if let Poll::Ready(overdue) = place.overdue.poll_unpin(cx) {
                    self.large = Some(Large::Refused(overdue.clone()));
                    return Poll::Ready(Some(Err(overdue)));
                }
                self.large = Some(Large::Placed(place));
            }
            Some(Large::Refused(reason)) => {
                self.large = Some(Large::Refused(reason.clone()));
                return Poll::Ready(Some(Err(reason)));
            }
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        match self.read(&data) {
            Some(place) => self.wait(place, data, cx),
            None => Poll::Ready(Some(Ok(Frame::data(data)))),
        }
    }
}

impl Messages {
    /// Waits for the place of the message that begins in these bytes, and returns them then.
    fn wait(
        &mut self,
        mut place: BoxFuture<'static, Option<Place>>,
        begun: Bytes,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match place.poll_unpin(cx) {
            Poll::Ready(place) => {
                self.large = place.map(Large::Placed);
                Poll::Ready(Some(Ok(Frame::data(begun))))
            }
            Poll::Pending => {
                self.large = Some(Large::Waiting(place, begun));
                Poll::Pending
            }
        }
    }

    /// Notes bytes that came; returns the place to wait for, if a large message begins in them.
    fn read(&mut self, data: &[u8]) -> Option<BoxFuture<'static, Option<Place>>> {
        let (missing, begun) = (self.reader.left, self.reader.read(data));
        if missing <= data.len() {
            self.large = None;
        } else if let Some(Large::Placed(place)) = &mut self.large {
            place.take(data.len());
        }
        match begun {
            // What came before it in these bytes is answered.
            Some(length) if length > self.assembly.longest => {
                let longest = self.assembly.longest;
                let text = format!("a message has {length} bytes, the limit is {longest} here");
                self.large = Some(Large::Refused(Status::out_of_range(text)));
                None
            }
            Some(length) if length > SMALL => {
                let Ok(waits) = self.assembly.waiting.clone().try_acquire_owned() else {
                    self.large = Some(Large::Refused((self.assembly.refusal)()));
                    return None;
                };
                Some(self.assembly.clone().place(length, waits, self.overdue.clone()).boxed())
            }
            _ => None,
        }
    }
}

/// The position in the messages of a request.
#[derive(Debug, Default)]
struct Reader {
    header: [u8; HEADER],
    /// The bytes of the next message's header that came.
    known: usize,
    /// The bytes that are missing of the message.
    left: usize,
}

impl Reader {
    /// Reads on; returns the length of the message that begins in these bytes, and isn't whole in them.
    fn read(&mut self, mut data: &[u8]) -> Option<usize> {
        let mut begun = None;
        while !data.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(data.len());
                self.left -= taken;
                data = &data[taken..];
                begun = begun.filter(|_| self.left > 0);
                continue;
            }
            self.header[self.known] = data[0];
            data = &data[1..];
            self.known += 1;
            if self.known == HEADER {
                let [_, length @ ..] = self.header;
                (self.known, self.left) = (0, u32::from_be_bytes(length) as usize);
                begun = (self.left > 0).then_some(self.left);
            }
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body as Data, BodyDataStream};
    use futures::{FutureExt as _, StreamExt as _};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend((length as u32).to_be_bytes());
        message.extend(vec![7; length]);
        message
    }

    #[test]
    fn messages_are_told_apart_however_their_bytes_come() {
        let bytes: Vec<u8> = [0, 3, 2 * SMALL, 5].into_iter().flat_map(message).collect();
        for step in [1, 2, 5, 7, 1000, SMALL, bytes.len()] {
            let mut reader = Reader::default();
            let begun: Vec<usize> = bytes.chunks(step).filter_map(|data| reader.read(data)).collect();
            assert_eq!((reader.left, reader.known), (0, 0));
            let large = begun.iter().filter(|length| **length > SMALL).count();
            assert_eq!(large, usize::from(step < bytes.len()), "{begun:?}");
        }
    }

    fn room(bytes: usize, longest: usize) -> Assembly {
        Assembly::new(bytes, longest, || Status::resource_exhausted("too many wait"))
    }

    /// A client that sends when it is told to, and what comes of it.
    fn client(assembly: &Assembly) -> (mpsc::Sender<Vec<u8>>, BodyDataStream) {
        let (sender, receiver) = mpsc::channel::<Vec<u8>>(100);
        let data = ReceiverStream::new(receiver).map(Ok::<_, Status>);
        let request = assembly.bound(Request::new(Body::new(Data::from_stream(data))));
        (sender, Data::new(request.into_body()).into_data_stream())
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_share_a_room_and_small_ones_need_none() {
        let assembly = room(3 * SMALL, 2 * SMALL);
        let ((first, mut of_first), (second, mut of_second)) = (client(&assembly), client(&assembly));
        let large = message(2 * SMALL);
        first.send(large[..100].to_vec()).await.unwrap();
        assert_eq!(of_first.next().await.unwrap().unwrap().len(), 100);
        second.send(large[..100].to_vec()).await.unwrap();
        assert!(of_second.next().now_or_never().is_none(), "there is no place for it");
        let (third, mut of_third) = client(&assembly);
        third.send(message(SMALL)).await.unwrap();
        assert!(of_third.next().await.unwrap().is_ok());

        first.send(large[100..].to_vec()).await.unwrap();
        assert!(of_first.next().await.unwrap().is_ok());
        assert!(of_second.next().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_longer_than_the_room_or_the_limit_is_refused_by_its_header_and_waits_for_nothing() {
        for (bytes, longest) in [(2 * SMALL, 64 * SMALL), (64 * SMALL, 2 * SMALL)] {
            let assembly = room(bytes, longest);
            let (holder, mut of_holder) = client(&assembly);
            holder.send(message(2 * SMALL)[..100].to_vec()).await.unwrap();
            assert!(of_holder.next().await.unwrap().is_ok());
            let (sender, mut data) = client(&assembly);
            let small = message(3);
            let header = [0, 0xff, 0xff, 0xff, 0xff];
            sender.send([&small[..], &header[..]].concat()).await.unwrap();
            let mut next = || data.next().now_or_never().expect("it doesn't wait").unwrap();
            assert_eq!(next().unwrap().len(), small.len() + HEADER, "what came before is passed on");
            let refused = next().unwrap_err();
            let text = Status::from_error(refused.into()).message().to_owned();
            assert!(text.contains("4294967295 bytes, the limit is 2097152"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_beside_which_too_many_others_wait_is_refused_at_once() {
        let assembly = room(2 * SMALL, 2 * SMALL);
        let begun = &message(2 * SMALL)[..100];
        let mut clients = Vec::new();
        for number in 0..=MOST_WAITING {
            let (sender, mut data) = client(&assembly);
            sender.send(begun.to_vec()).await.unwrap();
            assert_eq!(data.next().now_or_never().is_some(), number == 0, "the first one has the place");
            clients.push((sender, data));
            // What a task may poll before it yields isn't without end.
            tokio::task::yield_now().await;
        }
        let (refused, mut data) = client(&assembly);
        refused.send(begun.to_vec()).await.unwrap();
        let mut next = || data.next().now_or_never().expect("it doesn't wait").unwrap();
        assert_eq!(next().unwrap().len(), begun.len(), "its beginning is passed on");
        let status = Status::from_error(next().unwrap_err().into());
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);

        clients.pop();
        let (sender, mut data) = client(&assembly);
        sender.send(begun.to_vec()).await.unwrap();
        assert!(data.next().now_or_never().is_none(), "another one waits no more");
        drop(clients);
        assert!(data.next().await.unwrap().is_ok(), "the place is free");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_amid_a_large_message_loses_its_place() {
        let assembly = room(2 * SMALL, 2 * SMALL);
        let ((first, mut of_first), (second, mut of_second)) = (client(&assembly), client(&assembly));
        let large = message(2 * SMALL);
        for sender in [&first, &second] {
            sender.send(large[..100].to_vec()).await.unwrap();
        }
        assert!(of_first.next().await.unwrap().is_ok());
        assert!(of_second.next().now_or_never().is_none());
        let ended = timeout(STALL * 6, of_first.next()).await.expect("it ends");
        assert!(ended.unwrap().is_err());
        assert!(of_second.next().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back_also_while_nobody_asks_for_the_rest() {
        let assembly = room(2 * SMALL, 2 * SMALL);
        let (first, receiver) = mpsc::channel::<Vec<u8>>(100);
        let data = ReceiverStream::new(receiver).map(Ok::<_, Status>);
        let request = assembly.bound(Request::new(Body::new(Data::from_stream(data))));
        let overdue = request.extensions().get::<Overdue>().unwrap().clone();
        let mut of_first = Data::new(request.into_body()).into_data_stream();
        let (second, mut of_second) = client(&assembly);
        let large = message(2 * SMALL);
        for sender in [&first, &second] {
            sender.send(large[..100].to_vec()).await.unwrap();
        }
        assert!(of_first.next().await.unwrap().is_ok());
        assert!(overdue.clone().passed().now_or_never().is_none());
        let place = timeout(STALL * 6, of_second.next()).await.expect("it gets a place");
        assert!(place.unwrap().is_ok());
        assert_eq!(overdue.passed().await.code(), tonic::Code::DeadlineExceeded);
        first.send(large[100..].to_vec()).await.unwrap();
        assert!(of_first.next().await.unwrap().is_err(), "its place is another's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_may_take_any_time_but_has_a_least_rate() {
        let assembly = room(5 * SMALL, 5 * SMALL);
        let (sender, mut data) = client(&assembly);
        let large = message(5 * SMALL);
        let mut sent = 0;
        // The last part is shorter than a step.
        for part in large[..].chunks(SMALL * 3 / 4) {
            sender.send(part.to_vec()).await.unwrap();
            sent += data.next().await.unwrap().unwrap().len();
            tokio::time::advance(STALL * 2 / 5).await;
        }
        assert_eq!(sent, large.len());

        sender.send(large[..100].to_vec()).await.unwrap();
        assert!(data.next().await.unwrap().is_ok());
        let mut bytes = 0;
        loop {
            tokio::time::advance(STALL * 9 / 10).await;
            sender.send(vec![7]).await.unwrap();
            match data.next().await.unwrap() {
                Ok(_) => bytes += 1,
                Err(_) => break,
            }
            assert!(bytes < 10, "a byte now and then is no progress");
        }
    }
}
