//! Finding and dialling other servers, injected so that a simulation can do both itself.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::Service;

use crate::names::Names;
use crate::{ByteStream, Connector};

/// Makes a connection to `HOST:PORT` that is opened at its first use and opened again
/// after it broke.
pub type Dial = Arc<dyn Fn(&str) -> Result<Channel, tonic::transport::Error> + Send + Sync>;

/// Finds all addresses that a name, `HOST:PORT`, stands for.
pub type Resolve = Arc<dyn Fn(&str) -> BoxFuture<'static, io::Result<Vec<String>>> + Send + Sync>;

/// The limit of one message in bytes: a batch of the largest values and its envelope.
pub const MESSAGE_LIMIT: usize = 64 << 20;

/// The number of calls in flight for which a client needs one connection only. A listener must take as
/// many at a time: the others would wait at the client, and be missing from the batches of writes.
pub const CALLS_PER_CONNECTION: usize = 256;

/// The longest duration of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time after which a peer that doesn't answer pings is taken for dead, also when it was only
/// stopped.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// The bytes in flight on one stream, unless a listener has less memory.
pub const STREAM_WINDOW: u32 = 8 << 20;
/// The bytes in flight on a whole connection.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Returns the settings of every connection that we make.
pub fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{}", authority(address)))?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

/// Returns the authority of requests to `HOST:PORT`. A final dot, which marks a complete name, is for
/// lookups only: neither proxies nor certificates have it.
pub fn authority(address: &str) -> Cow<'_, str> {
    match address.rsplit_once(':') {
        Some((host, port)) if host.ends_with('.') => {
            Cow::Owned(format!("{}:{port}", host.trim_end_matches('.')))
        }
        _ => Cow::Borrowed(address),
    }
}

/// Makes a [`Resolve`] from a function.
pub fn resolver<F>(find: impl Fn(String) -> F + Send + Sync + 'static) -> Resolve
where
    F: Future<Output = io::Result<Vec<String>>> + Send + 'static,
{
    Arc::new(move |name| find(name.to_owned()).boxed())
}

/// Resolves names by the operating system.
pub fn dns() -> Resolve {
    let names = Names::system();
    resolver(move |name| {
        let names = names.clone();
        async move { Ok(names.addresses(&name).await?.iter().map(ToString::to_string).collect()) }
    })
}

/// Dials through a connector.
pub fn dial(connector: Connector) -> Dial {
    Arc::new(move |address| {
        let stream = through(connector.clone(), address.to_owned());
        Ok(endpoint(address)?.connect_with_connector_lazy(stream))
    })
}

/// Opens a connection to `HOST:PORT` with settings that begin with [`endpoint`]'s. It is open when this
/// returns.
pub async fn open(
    settings: Endpoint,
    connector: &Connector,
    address: &str,
) -> Result<Channel, tonic::transport::Error> {
    settings.connect_with_connector(through(connector.clone(), address.to_owned())).await
}

/// Returns a service that opens streams to this address, whatever the name in the requests.
fn through(
    connector: Connector,
    address: String,
) -> impl Service<Uri, Response = TokioIo<Box<dyn ByteStream>>, Error = io::Error, Future: Send> + Send + 'static
{
    tower::service_fn(move |_: Uri| {
        let stream = connector(address.clone());
        async move { stream.await.map(TokioIo::new) }
    })
}

/// Returns the settings of every listener, to match [`endpoint`]. One whose memory is scarce sets smaller
/// windows: what nobody has read yet takes memory, on each connection.
pub fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;

    /// Addresses, and the other end of the stream to each.
    type Opened = Arc<Mutex<Vec<(String, DuplexStream)>>>;

    /// Returns a connector that notes what is opened.
    fn noting() -> (Connector, Opened) {
        let asked = Opened::default();
        let noted = asked.clone();
        let connector = crate::connector(move |address| {
            let (ours, theirs) = tokio::io::duplex(1024);
            noted.lock().push((address, theirs));
            async move { Ok(ours) }
        });
        (connector, asked)
    }

    #[tokio::test]
    async fn the_connector_gets_the_name_as_it_was_given() {
        let (connector, asked) = noting();
        let address = "kv-manager.default.svc.cluster.local.:7400";
        open(endpoint(address).unwrap(), &connector, address).await.unwrap();
        let (name, mut theirs) = asked.lock().pop().unwrap();
        assert_eq!(name, address);
        let mut begun = [0; 14];
        theirs.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"PRI * HTTP/2.0");
    }

    #[test]
    fn requests_call_a_server_without_the_final_dot() {
        for (address, called) in [
            ("kv-manager.default.svc.cluster.local.:7400", "kv-manager.default.svc.cluster.local:7400"),
            ("localhost:1", "localhost:1"),
            ("[::1]:7000", "[::1]:7000"),
            ("10.0.0.1:7000", "10.0.0.1:7000"),
        ] {
            assert_eq!(authority(address), called);
            assert_eq!(endpoint(address).unwrap().uri().authority().unwrap().as_str(), called);
        }
    }
}
