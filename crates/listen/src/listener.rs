//! The one loop that takes connections, for gRPC and for HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::connection::{Connection, Silence};
use crate::metrics::Counted;

/// The pause of a listener that can't take a connection: a resource that is short, such as
/// descriptors, is short for a while, and a client that waits to connect goes on waiting.
const PAUSE: Duration = Duration::from_millis(100);

/// The time in which a client begins to speak HTTP/2.
const BEGINNING: Duration = Duration::from_secs(10);

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
    silence: Silence,
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
        let socket = socket_at(address).await?;
        let places = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let (refusals, failures) = (Repeated::default(), Repeated::default());
        let silence = Silence::BeforeItsPreface(BEGINNING);
        Ok(Listener { name, socket, limit, silence, places, counted, refusals, failures })
    }

    /// Lets clients say nothing only for so long; before, the limit is for the beginning of HTTP/2.
    #[must_use]
    pub fn with_silence(self, silence: Silence) -> Listener {
        Listener { silence, ..self }
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
        Some(Connection::new(stream, self.counted.clone(), self.silence, place))
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

/// Listens at an address. `[::]` is every address of both families.
async fn socket_at(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
    match TcpListener::bind(addresses.as_slice()).await {
        Err(error) => match without_ipv6(&addresses, &error) {
            Some(address) => TcpListener::bind(address).await,
            None => Err(error),
        },
        bound => bound,
    }
}

/// Returns the address to listen at in place of every address, where the kernel has no IPv6.
fn without_ipv6(addresses: &[SocketAddr], error: &io::Error) -> Option<SocketAddr> {
    let [SocketAddr::V6(every)] = addresses else { return None };
    let is_unknown = error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
    (is_unknown && every.ip().is_unspecified()).then(|| (Ipv4Addr::UNSPECIFIED, every.port()).into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_every_one_of_ipv4_where_there_is_no_other() {
        let unknown = io::Error::from(Errno::AFNOSUPPORT);
        let instead = |address: &str, error: &io::Error| without_ipv6(&[address.parse().unwrap()], error);
        assert_eq!(instead("[::]:7000", &unknown), Some("0.0.0.0:7000".parse().unwrap()));
        assert_eq!(instead("[::1]:7000", &unknown), None, "it was meant");
        assert_eq!(instead("0.0.0.0:7000", &unknown), None);
        assert_eq!(instead("[::]:7000", &io::ErrorKind::AddrInUse.into()), None);
    }

    #[tokio::test]
    async fn every_address_takes_connections_of_both_families() {
        let mut listener = Listener::bind("test", "[::]:0", 10, Counted::default()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        listener.accept().await;
        if let Ok(_client) = TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).await {
            listener.accept().await;
        }
    }
}
