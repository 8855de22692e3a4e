//! Opening connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// Bytes that go both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Opens a connection to `HOST:PORT`. Injected so that a simulation can carry the bytes.
pub type Connector = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> + Send + Sync>;

/// Makes a [`Connector`] of a function.
pub fn connector<F, S>(open: impl Fn(String) -> F + Send + Sync + 'static) -> Connector
where
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: ByteStream + 'static,
{
    Arc::new(move |address| {
        open(address).map(|stream| stream.map(|s| Box::new(s) as Box<dyn ByteStream>)).boxed()
    })
}

/// Connects over TCP.
pub fn tcp() -> Connector {
    connector(|address| async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Bytes in flight on one stream and on a whole connection.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const FRAME: u32 = 256 << 10;
/// A server that leaves a ping unanswered for this long is gone, or stopped.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens connections with our settings.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) connector: Connector,
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A connection that is open when this returns: an error means that nothing was sent.
    pub(crate) async fn channel(&self, address: &str) -> Result<Channel, Arc<str>> {
        let endpoint = endpoint(address).map_err(|e| format!("{address} is not HOST:PORT: {e}"))?;
        let open = Arc::clone(&self.connector);
        let to = address.to_owned();
        let connector = tower::service_fn(move |_| {
            let stream = open(to.clone());
            Box::pin(async move { stream.await.map(TokioIo::new) })
        });
        match tokio::time::timeout(self.timeout, endpoint.connect_with_connector(connector)).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(format!("{address}: {}", root_cause(&error)).into()),
            Err(_) => Err(format!("{address}: no connection within {:?}", self.timeout).into()),
        }
    }
}

pub(crate) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME))
}

/// The innermost error: "connection refused" rather than "transport error".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
