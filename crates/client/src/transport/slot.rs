//! The place of a connection, and the attempts to open it.
//!
//! An attempt continues when its caller gives up: on a slow network each attempt would otherwise be cut
//! off before it succeeds. Callers wait only for a short time, so that they can ask another server
//! meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, timeout};

use crate::attempt::Attempt;

/// After a failure to connect the next attempt waits at least this long, and as long as the
/// failure took, so that callers don't queue up before an address that nobody answers.
const SHORTEST_REST: Duration = Duration::from_millis(50);

/// A connection of either kind.
pub(super) trait Connection: Send + Sync + 'static {
    fn is_open(&self) -> bool;
}

/// An attempt under way.
type Opening<T> = Shared<BoxFuture<'static, Result<Arc<T>, Arc<str>>>>;

/// The place of a connection while it works.
#[derive(Debug)]
pub(super) struct Slot<T> {
    ready: RwLock<Option<Arc<T>>>,
    opening: Mutex<Option<Opening<T>>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot { ready: RwLock::new(None), opening: Mutex::new(None) }
    }
}

impl<T: Connection> Slot<T> {
    /// Returns the connection, if it works.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        self.ready.read().as_ref().filter(|connection| connection.is_open()).cloned()
    }

    /// Returns true while an attempt is under way.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.lock().is_some()
    }

    /// Joins the attempt under way, or begins one; the error says why the last one failed a moment ago.
    pub(super) fn open(
        self: &Arc<Self>,
        openings: &Arc<Openings>,
        address: &Arc<str>,
        dial: impl Future<Output = Result<T, Arc<str>>> + Send + 'static,
    ) -> Result<Opening<T>, Arc<str>> {
        let mut opening = self.opening.lock();
        if let Some(why) = openings.why_resting(Instant::now()) {
            return Err(why);
        }
        if let Some(under_way) = &*opening {
            return Ok(under_way.clone());
        }
        if let Some(connection) = self.get() {
            return Ok(async { Ok(connection) }.boxed().shared());
        }
        let (slot, openings, address) = (Arc::clone(self), Arc::clone(openings), Arc::clone(address));
        let attempt = async move {
            let result = openings.make(&address, dial).await.map(Arc::new);
            if let Ok(connection) = &result {
                *slot.ready.write() = Some(Arc::clone(connection));
            }
            *slot.opening.lock() = None;
            result
        };
        let attempt = attempt.boxed().shared();
        *opening = Some(attempt.clone());
        tokio::spawn(attempt.clone());
        Ok(attempt)
    }
}

/// The attempts to connect to one server: the time for the next one, and the failure of the last one.
#[derive(Debug)]
pub(super) struct Openings {
    first: Attempt,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: Attempt,
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    why: Arc<str>,
}

impl Openings {
    pub(super) fn new(first: Attempt) -> Openings {
        Openings { first, state: Mutex::new(State { next: first, rest: None }) }
    }

    /// Returns true if the last attempt to connect failed so recently that none is made now.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.why_resting(now).is_some()
    }

    fn why_resting(&self, now: Instant) -> Option<Arc<str>> {
        let state = self.state.lock();
        state.rest.as_ref().filter(|rest| now < rest.until).map(|rest| Arc::clone(&rest.why))
    }

    /// Returns the reason why the last attempt to connect failed; `None` if it didn't.
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.state.lock().rest.as_ref().map(|rest| Arc::clone(&rest.why))
    }

    /// Notes that no connection opened in this time. The server is left alone for the same time.
    pub(super) fn rest(&self, waited: Duration, why: Arc<str>) -> Arc<str> {
        tracing::debug!(reason = %why, "can't connect");
        let until = Instant::now() + SHORTEST_REST.max(waited);
        self.state.lock().rest = Some(Rest { until, why: Arc::clone(&why) });
        why
    }

    /// Makes one attempt, and notes its end.
    async fn make<T>(
        &self,
        address: &str,
        dial: impl Future<Output = Result<T, Arc<str>>>,
    ) -> Result<T, Arc<str>> {
        let (started, mut attempt) = (Instant::now(), self.state.lock().next);
        match timeout(attempt.time(), dial).await {
            Ok(Ok(connection)) => {
                *self.state.lock() = State { next: self.first, rest: None };
                Ok(connection)
            }
            Ok(Err(why)) => Err(self.rest(started.elapsed(), why)),
            Err(_) => {
                let why = format!("{address}: no connection within {:?}", attempt.time());
                attempt.overran();
                self.state.lock().next = attempt;
                Err(self.rest(started.elapsed().min(self.first.time()), why.into()))
            }
        }
    }
}
