//! Opening connections.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use skv_net::{Connector, MESSAGE_LIMIT};
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::attempt::Attempt;

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
    /// The first attempt to open a connection to a server.
    pub(crate) attempt: Attempt,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Opens a connection, which is open when this returns: an error means that nothing was sent.
    pub(crate) async fn dial(&self, address: &str) -> Result<Link, Arc<str>> {
        let origin = origin(address).ok_or_else(|| format!("{address} is not HOST:PORT"))?;
        match self.open(address.to_owned(), origin).await {
            Ok(link) => Ok(link),
            Err(error) => Err(format!("{address}: {}", root_cause(&*error)).into()),
        }
    }

    async fn open(
        &self,
        address: String,
        origin: Uri,
    ) -> Result<Link, Box<dyn std::error::Error + Send + Sync>> {
        let stream = (self.connector)(address).await?;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
        Ok(Link { requests, origin })
    }
}

/// Returns the beginning of the URI of every request to `HOST:PORT`.
pub(crate) fn origin(address: &str) -> Option<Uri> {
    let authority = skv_net::authority(address);
    let uri: Uri = format!("http://{authority}").parse().ok()?;
    let is_address = uri.authority().is_some_and(|a| a.port_u16().is_some() && a.as_str() == authority);
    is_address.then_some(uri)
}

/// An open HTTP/2 connection. Unlike tonic's channel it doesn't connect again by itself, and it
/// distinguishes requests that never left from those that may have arrived.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    requests: SendRequest<Body>,
    origin: Uri,
}

/// The reason why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The request never left.
    #[error("not sent: {0}")]
    NotSent(hyper::Error),
    /// The request may have arrived.
    #[error(transparent)]
    Lost(hyper::Error),
}

impl Link {
    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(crate) fn kv(&self) -> KvClient<Link> {
        KvClient::with_origin(self.clone(), self.origin.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    pub(crate) fn shard_manager(&self) -> ShardManagerClient<Link> {
        ShardManagerClient::with_origin(self.clone(), self.origin.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
    }
}

impl Service<hyper::Request<Body>> for Link {
    type Response = hyper::Response<Incoming>;
    type Error = LinkError;
    type Future = BoxFuture<'static, Result<Self::Response, LinkError>>;

    /// This is always ready, so that the request itself meets a closed connection: only its error
    /// says that it was not sent.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        let response = self.requests.try_send_request(request);
        Box::pin(async move {
            response.await.map_err(|error| match error.message() {
                Some(_) => LinkError::NotSent(error.into_error()),
                None => LinkError::Lost(error.into_error()),
            })
        })
    }
}

/// Returns true if a status says that its request never left.
pub(crate) fn was_not_sent(status: &Status) -> bool {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(inner) = error {
        if let Some(LinkError::NotSent(_)) = inner.downcast_ref() {
            return true;
        }
        error = inner.source();
    }
    false
}

/// Returns the innermost error: "connection refused" rather than "transport error".
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
