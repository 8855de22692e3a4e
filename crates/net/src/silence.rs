//! Streams over which nothing came yet.
//!
//! A process that stands still, and a load balancer whose processes are gone, accept connections as well as one
//! that works: the system does it for them. Only a byte from the other end shows that somebody is there.

use tokio::io::AsyncRead;
use tokio_util::io::InspectReader;

/// A stream that calls a function when it is dropped before a byte came.
pub(crate) type Watched<S> = InspectReader<S, Hear>;

type Hear = Box<dyn FnMut(&[u8]) + Send>;

/// Has a stream call a function when it is dropped before a byte came.
pub(crate) fn watched<S: AsyncRead>(stream: S, if_silent: impl FnOnce() + Send + 'static) -> Watched<S> {
    let mut silence = Silence { at_its_end: Some(Box::new(if_silent)) };
    let hear: Hear = Box::new(move |came| silence.hear(came));
    InspectReader::new(stream, hear)
}

struct Silence {
    at_its_end: Option<Box<dyn FnOnce() + Send>>,
}

impl Silence {
    fn hear(&mut self, came: &[u8]) {
        if !came.is_empty() {
            self.at_its_end = None;
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(at_its_end) = self.at_its_end.take() {
            at_its_end();
        }
    }
}
