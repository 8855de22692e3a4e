//! A connection that was taken, and its share of its listener's limit.
//!
//! A client that connects and sends nothing is disconnected, so that its place is free for others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::metrics::Counted;

/// The time for which a client may send nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// A limit until the preface of HTTP/2 is complete. From then on pings show that the client lives.
    BeforeItsPreface(Duration),
    /// A limit at any time. The client connects again when it has a request.
    AtAnyTime(Duration),
}

/// The length of the preface of HTTP/2, with which every client begins.
const PREFACE: usize = 24;

impl Silence {
    fn limit(self) -> Duration {
        match self {
            Silence::BeforeItsPreface(limit) | Silence::AtAnyTime(limit) => limit,
        }
    }
}

/// A connection over TCP. Its place is free again when it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    counted: Counted,
    silence: Silence,
    /// The bytes that came.
    heard: usize,
    /// The end of the client's silence.
    speaks_by: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        counted: Counted,
        silence: Silence,
        place: OwnedSemaphorePermit,
    ) -> Connection {
        counted.open.inc();
        let speaks_by = Some(Box::pin(sleep(silence.limit())));
        Connection { stream, counted, silence, heard: 0, speaks_by, _place: place }
    }

    /// Notes the bytes that came, or returns the error of a client that has sent nothing for too long.
    fn listen(&mut self, cx: &mut Context<'_>, came: Option<usize>) -> Poll<io::Result<()>> {
        let Some(speaks_by) = &mut self.speaks_by else {
            return if came.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let Some(bytes) = came else {
            ready!(speaks_by.as_mut().poll(cx));
            self.counted.silent.inc();
            let text = "the client sent nothing for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        };
        self.heard = self.heard.saturating_add(bytes);
        match self.silence {
            Silence::AtAnyTime(limit) => speaks_by.as_mut().reset(Instant::now() + limit),
            Silence::BeforeItsPreface(_) if self.heard >= PREFACE => self.speaks_by = None,
            // The whole preface must arrive in time, and not each part of it.
            Silence::BeforeItsPreface(_) => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counted.open.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let came = match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Some(buf.filled().len() - before),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => None,
        };
        self.listen(cx, came)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
