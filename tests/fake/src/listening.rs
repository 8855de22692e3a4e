//! A server's listener.

use std::net::{SocketAddr, TcpStream};

use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;

use crate::Reserved;

/// A listener with a runtime of its own, so that it can be killed with all its connections.
pub(crate) struct Listening {
    port: Reserved,
    runtime: Option<Runtime>,
}

impl Listening {
    pub(crate) fn start<F>(serve: impl FnOnce(TcpListenerStream) -> F) -> Listening
    where
        F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let port = Reserved::new();
        let listener = std::net::TcpListener::bind(port.address()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let guard = runtime.enter();
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        drop(guard);
        runtime.spawn(serve(incoming).map(|end| end.unwrap()));
        Listening { port, runtime: Some(runtime) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Ends the listener; returns when no client can connect any more.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            while TcpStream::connect(self.address()).is_ok() {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
