//! Opening connections: a [`Connector`] carries the bytes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::names::Names;

/// A stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Opens a connection to `HOST:PORT`. Injected so that a simulation can carry the bytes.
pub type Connector = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> + Send + Sync>;

/// Makes a [`Connector`] from a function.
pub fn connector<F, S>(open: impl Fn(String) -> F + Send + Sync + 'static) -> Connector
where
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: ByteStream + 'static,
{
    Arc::new(move |address| {
        open(address).map(|stream| stream.map(|s| Box::new(s) as Box<dyn ByteStream>)).boxed()
    })
}

/// Returns a connector over TCP. The addresses of a name are tried beside each other.
pub fn tcp() -> Connector {
    let names = Names::system();
    connector(move |address| {
        let names = names.clone();
        async move { names.connect(&address, open).await }
    })
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
