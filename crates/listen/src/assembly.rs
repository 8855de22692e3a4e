//! Large messages on their way in.
//!
//! A message is assembled before it can be judged, and any number of clients may have begun one of the
//! largest size. So large messages share a room, one per listener: a message without a place in it isn't
//! read, and its client waits. Small messages need no place.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as Data, BodyDataStream};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

/// The bytes of large messages that are assembled at a time.
const ROOM: usize = 256 << 20;
/// Longer messages need a place.
const SMALL: usize = 1 << 20;
/// The time for which the client of a large message may send nothing of it.
const STALL: Duration = Duration::from_secs(10);
/// The bytes before each message of gRPC: a flag and a length.
const HEADER: usize = 5;

/// The room for large messages of one listener.
#[derive(Debug, Clone)]
pub struct Assembly {
    places: Arc<Semaphore>,
}

impl Default for Assembly {
    fn default() -> Assembly {
        Assembly { places: Arc::new(Semaphore::new(ROOM)) }
    }
}

impl Assembly {
    /// Lets the large messages of a request take their places.
    pub fn bound(&self, request: Request<Body>) -> Request<Body> {
        request.map(|body| {
            let messages = Messages {
                data: Data::new(body).into_data_stream(),
                places: Arc::clone(&self.places),
                place: None,
                reader: Reader::default(),
            };
            Body::new(Data::from_stream(stream::unfold(messages, Messages::next)))
        })
    }
}

/// The messages of one request.
struct Messages {
    data: BodyDataStream,
    places: Arc<Semaphore>,
    /// The place of the message that is being assembled.
    place: Option<OwnedSemaphorePermit>,
    reader: Reader,
}

impl Messages {
    /// Returns the next bytes, once the message that begins in them has its place.
    async fn next(mut self) -> Option<(Result<Bytes, Status>, Messages)> {
        let next = if self.place.is_none() {
            self.data.next().await
        } else if let Ok(next) = timeout(STALL, self.data.next()).await {
            next
        } else {
            self.place = None;
            let text = "the rest of a large message didn't come";
            return Some((Err(Status::deadline_exceeded(text)), self));
        };
        let data = match next? {
            Ok(data) => data,
            Err(error) => return Some((Err(Status::from_error(error.into())), self)),
        };
        let (was_whole, begun) = (self.reader.left <= data.len(), self.reader.read(&data));
        if was_whole {
            self.place = None;
        }
        if let Some(length) = begun.filter(|length| *length > SMALL) {
            let places = length.min(ROOM) as u32;
            self.place = Arc::clone(&self.places).acquire_many_owned(places).await.ok();
        }
        Some((Ok(data), self))
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
    use futures::FutureExt as _;
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

    /// A client that sends when it is told to, and what comes of it.
    fn client(assembly: &Assembly) -> (mpsc::Sender<Vec<u8>>, BodyDataStream) {
        let (sender, receiver) = mpsc::channel::<Vec<u8>>(100);
        let data = ReceiverStream::new(receiver).map(Ok::<_, Status>);
        let request = assembly.bound(Request::new(Body::new(Data::from_stream(data))));
        (sender, Data::new(request.into_body()).into_data_stream())
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_share_a_room_and_small_ones_need_none() {
        let assembly = Assembly { places: Arc::new(Semaphore::new(3 * SMALL)) };
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
    async fn who_stops_amid_a_large_message_loses_its_place() {
        let assembly = Assembly { places: Arc::new(Semaphore::new(2 * SMALL)) };
        let ((first, mut of_first), (second, mut of_second)) = (client(&assembly), client(&assembly));
        let large = message(2 * SMALL);
        for sender in [&first, &second] {
            sender.send(large[..100].to_vec()).await.unwrap();
        }
        assert!(of_first.next().await.unwrap().is_ok());
        assert!(of_second.next().now_or_never().is_none());
        assert!(of_first.next().await.unwrap().is_err());
        assert!(of_second.next().await.unwrap().is_ok());
    }
}
