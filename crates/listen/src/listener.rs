//! The one loop that takes connections, for gRPC and for HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::metrics::Counted;

/// The pause of a listener that can't take a connection: a resource that is short, such as
/// descriptors, is short for a while, and a client that waits to connect goes on waiting.
const PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines about the same kind of connections.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Connections that were taken, as tonic wants them.
pub type Incoming = BoxStream<'static, io::Result<Connection>>;

/// Takes connections, up to a limit.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    limit: usize,
    places: Arc<Semaphore>,
    counted: Counted,
    refusals: Repeated,
    failures: Repeated,
}

impl Listener {
    /// Listens at an address, and takes at most `limit` connections at a time. The name is for logs.
    pub async fn bind(
        name: &'static str,
        address: impl ToSocketAddrs,
        limit: usize,
        counted: Counted,
    ) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        let places = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let (refusals, failures) = (Repeated::default(), Repeated::default());
        Ok(Listener { name, socket, limit, places, counted, refusals, failures })
    }

    /// Returns the address at which it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for the next connection that has a place. Those without one are closed.
    pub async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, from)) => {
                    if let Some(connection) = self.place(stream) {
                        return (connection, from);
                    }
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    self.counted.failed.inc();
                    if let Some(times) = self.failures.again() {
                        tracing::warn!(listener = self.name, %error, times, "connections can't be taken");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn place(&mut self, stream: TcpStream) -> Option<Connection> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.counted.refused.inc();
            if let Some(times) = self.refusals.again() {
                let limit = self.limit;
                tracing::warn!(
                    listener = self.name,
                    limit,
                    times,
                    "there are too many connections: more are closed at once"
                );
            }
            return None;
        };
        // A failure here only makes small answers slower.
        let _ = stream.set_nodelay(true);
        Some(Connection::new(stream, self.counted.open.clone(), place))
    }

    /// Takes connections for as long as the stream is polled.
    pub fn incoming(self) -> Incoming {
        let taken = stream::unfold(self, |mut listener| async move {
            let (connection, _) = listener.accept().await;
            Some((Ok(connection), listener))
        });
        taken.boxed()
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        Listener::accept(self).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(self)
    }
}

/// Returns true if only the connection failed that was being taken: the next one may be there
/// already.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused | E::Interrupted)
}

/// An event that may happen often, and is logged now and then.
#[derive(Debug, Default)]
struct Repeated {
    told: Option<Instant>,
    times: u64,
}

impl Repeated {
    /// Counts the event; returns the number since it was last logged, if it must be logged now.
    fn again(&mut self) -> Option<u64> {
        self.times += 1;
        if self.told.is_some_and(|told| told.elapsed() < LOG_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}
