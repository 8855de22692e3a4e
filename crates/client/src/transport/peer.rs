//! The connections to one server, opened when they are needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skv_net::CALLS_PER_CONNECTION;
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::operation::Operation;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

use super::dial::{Link, root_cause, was_not_sent};
use super::pipe::Pipe;
use super::slot::{Connection, Openings, Slot};
use super::{Dialer, Failure, Reply, Transmission};

/// All servers that a clerk knows, each once.
#[derive(Debug)]
pub(crate) struct Pool {
    dialer: Dialer,
    streams: usize,
    connections: usize,
    peers: Mutex<HashMap<Arc<str>, Arc<Peer>>>,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer, streams: usize, connections: usize) -> Pool {
        Pool { dialer, streams: streams.max(1), connections: connections.max(1), peers: Mutex::default() }
    }

    /// Returns the server at `HOST:PORT`.
    pub(crate) fn peer(&self, address: &str) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address) {
            return Arc::clone(peer);
        }
        // Addresses come and go with pods: only those that are still in use are kept.
        peers.retain(|_, peer| Arc::strong_count(peer) > 1);
        let address: Arc<str> = address.into();
        let peer = Arc::new(Peer {
            address: Arc::clone(&address),
            dialer: self.dialer.clone(),
            pipes: (0..self.streams).map(|_| Arc::default()).collect(),
            links: (0..self.connections).map(|_| Arc::default()).collect(),
            turn: AtomicUsize::new(0),
            unary_calls: AtomicUsize::new(0),
            is_heard: AtomicBool::new(false),
            openings: Arc::new(Openings::new(self.dialer.attempt)),
        });
        peers.insert(address, Arc::clone(&peer));
        peer
    }
}

/// The time limit of a transmission, once there is a connection, and the deadline of its call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) attempt: Duration,
    pub(crate) deadline: Instant,
}

impl Patience {
    fn expires(self) -> Instant {
        self.deadline.min(Instant::now() + self.attempt)
    }
}

/// A server.
#[derive(Debug)]
pub(crate) struct Peer {
    address: Arc<str>,
    dialer: Dialer,
    pipes: Box<[Arc<Slot<Pipe>>]>,
    links: Box<[Arc<Slot<Link>>]>,
    turn: AtomicUsize,
    unary_calls: AtomicUsize,
    /// True if the last request of its own was answered. A connection alone says little: the system
    /// accepts it, also for a process that stands still.
    is_heard: AtomicBool,
    openings: Arc<Openings>,
}

impl Connection for Pipe {
    fn is_open(&self) -> bool {
        Pipe::is_open(self)
    }
}

impl Connection for Link {
    fn is_open(&self) -> bool {
        Link::is_open(self)
    }
}

impl Peer {
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Returns true if the last attempt to connect failed so recently that none is made now.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.openings.is_resting(now)
    }

    /// Returns true if there is a connection.
    pub(crate) fn is_open(&self) -> bool {
        self.pipes.iter().any(|slot| slot.get().is_some())
            || self.links.iter().any(|slot| slot.get().is_some())
    }

    /// Returns true if there is a connection, and somebody at its other end.
    pub(crate) fn answers(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed) && self.is_open()
    }

    /// Returns the reason why the last attempt to connect failed; `None` if it didn't.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.openings.trouble()
    }

    /// Connects in the background, so that no call waits for it.
    pub(crate) fn connect_in_background(&self) {
        if self.links[0].is_opening() || self.is_resting(Instant::now()) {
            return;
        }
        // A failure is noted: the peer rests.
        let dial = dial(self.dialer.clone(), Arc::clone(&self.address));
        let _ = self.links[0].open(&self.openings, &self.address, dial);
    }

    /// Sends one operation over a stream.
    pub(crate) async fn send(&self, operation: Operation, bytes: usize, patience: Patience) -> Transmission {
        let slot = &self.pipes[self.turn.fetch_add(1, Ordering::Relaxed) % self.pipes.len()];
        let pipe = if let Some(pipe) = slot.get() {
            pipe
        } else {
            let (dialer, address) = (self.dialer.clone(), Arc::clone(&self.address));
            let dial = async move { Pipe::open(&dialer, &address).await };
            self.open(slot, patience, dial).await?
        };
        pipe.send(operation, bytes, patience.expires()).await
    }

    /// Sends one operation as a request of its own.
    pub(crate) async fn call(&self, operation: Operation, patience: Patience) -> Transmission {
        match operation {
            Operation::Get(request) => {
                let call = |mut client: KvClient<Link>| async move { client.get(request).await };
                self.unary(patience, call).await.map(Reply::Get)
            }
            Operation::Put(request) => {
                let call = |mut client: KvClient<Link>| async move { client.put(request).await };
                self.unary(patience, call).await.map(Reply::Put)
            }
            Operation::Append(request) => {
                let call = |mut client: KvClient<Link>| async move { client.append(request).await };
                self.unary(patience, call).await.map(Reply::Append)
            }
            Operation::Delete(request) => {
                let call = |mut client: KvClient<Link>| async move { client.delete(request).await };
                self.unary(patience, call).await.map(Reply::Delete)
            }
        }
    }

    pub(crate) async fn open_session(
        &self,
        after: u64,
        patience: Patience,
    ) -> Result<v1::OpenSessionResponse, Failure> {
        let request = v1::OpenSessionRequest { after };
        self.unary(patience, |mut client| async move { client.open_session(request).await }).await
    }

    pub(crate) async fn shard_map(&self, patience: Patience) -> Result<v1::ShardMap, Failure> {
        let request = v1::GetShardMapRequest {};
        self.unary(patience, |mut client| async move { client.get_shard_map(request).await }).await
    }

    /// Returns a connection for other services than Kv.
    pub(crate) async fn connection(&self, patience: Patience) -> Result<Arc<Link>, Failure> {
        self.link(&self.links[0], patience).await
    }

    async fn unary<T, F>(
        &self,
        patience: Patience,
        call: impl FnOnce(KvClient<Link>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let _counted = Counted::new(&self.unary_calls);
        let wanted = self.unary_calls.load(Ordering::Relaxed).div_ceil(CALLS_PER_CONNECTION);
        let connections = wanted.clamp(1, self.links.len());
        let slot = &self.links[self.turn.fetch_add(1, Ordering::Relaxed) % connections];
        let link = self.link(slot, patience).await?;
        let result = match tokio::time::timeout_at(patience.expires(), call(link.kv())).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => Err(Failure::overdue(&self.address)),
        };
        let is_heard = matches!(result, Ok(_) | Err(Failure::Answered(_)));
        self.is_heard.store(is_heard, Ordering::Relaxed);
        result
    }

    fn failure(&self, status: &Status) -> Failure {
        if let Some(error) = skv_proto::Error::from_status(status) {
            return Failure::Answered(Box::new(error));
        }
        if status.code() == Code::Unimplemented {
            let error = skv_proto::Error::Unimplemented(format!("{}: {}", self.address, status.message()));
            return Failure::Answered(Box::new(error));
        }
        // The error isn't from a server of ours, so it is from the connection.
        let why = format!("{}: {}", self.address, root_cause(status)).into();
        if was_not_sent(status) { Failure::NotSent(why) } else { Failure::Lost(why) }
    }

    async fn link(&self, slot: &Arc<Slot<Link>>, patience: Patience) -> Result<Arc<Link>, Failure> {
        if let Some(link) = slot.get() {
            return Ok(link);
        }
        self.open(slot, patience, dial(self.dialer.clone(), Arc::clone(&self.address))).await
    }

    /// Connects, unless another caller does or just failed to. The attempt goes on when the caller
    /// doesn't wait for it any more.
    async fn open<T: Connection>(
        &self,
        slot: &Arc<Slot<T>>,
        patience: Patience,
        dial: impl Future<Output = Result<T, Arc<str>>> + Send + 'static,
    ) -> Result<Arc<T>, Failure> {
        let started = Instant::now();
        let opening = slot.open(&self.openings, &self.address, dial).map_err(Failure::NotSent)?;
        let until = patience.deadline.min(started + self.dialer.attempt.time());
        let opened = tokio::time::timeout_at(until, opening).await;
        opened
            .unwrap_or_else(|_| {
                let waited = Instant::now() - started;
                Err(self
                    .openings
                    .rest(waited, format!("{}: no connection within {waited:.1?}", self.address).into()))
            })
            .map_err(Failure::NotSent)
    }
}

async fn dial(dialer: Dialer, address: Arc<str>) -> Result<Link, Arc<str>> {
    dialer.dial(&address).await
}

/// Counts a call for as long as it lasts.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
