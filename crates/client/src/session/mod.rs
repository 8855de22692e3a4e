//! The clerk's exactly-once identity: sessions, opened when the first mutation needs one,
//! and the sequence numbers of their mutations.

mod age;
mod lanes;
mod window;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use skv_net::race;
use skv_proto::v1;
use tokio::time::Instant;

use crate::error::Error;
use crate::pause::Backoff;
use crate::routing::{Layout, Placement, Router};
use crate::transport::{Failure, Patience, Peer};
use age::Age;
use lanes::Lanes;

/// A session. Its sequence numbers count per lane: a lane is a shard or, while the shards
/// aren't known, all keys. Either way no number is used twice within a shard.
#[derive(Debug)]
pub(crate) struct Session {
    id: v1::SessionId,
    opened: Instant,
    ttl: Duration,
    layout: Layout,
    lanes: Lanes,
}

/// A mutation's place in a session. When it is dropped, the mutation has its final
/// answer or is given up: a late transmission of it is then refused by the server.
#[derive(Debug)]
pub(crate) struct Ticket {
    session: Arc<Session>,
    lane: usize,
    seq: u64,
}

impl Ticket {
    /// Returns the id to send now.
    pub(crate) fn request_id(&self) -> v1::RequestId {
        let acked_below = self.session.lanes.get(self.lane).window.lock().acked_below();
        v1::RequestId { session: Some(self.session.id), seq: self.seq, acked_below }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let lane = self.session.lanes.get(self.lane);
        if lane.window.lock().finish(self.seq) {
            lane.has_room.notify_waiters();
        }
    }
}

impl Session {
    fn new(answer: &v1::OpenSessionResponse, layout: Layout) -> Session {
        Session {
            id: answer.session.unwrap_or_default(),
            opened: Instant::now(),
            ttl: Duration::from_millis(answer.ttl_ms),
            layout,
            lanes: Lanes::new(layout.lanes()),
        }
    }

    fn age(&self, now: Instant) -> Age {
        Age::of(now.saturating_duration_since(self.opened), self.ttl)
    }

    async fn ticket(self: Arc<Self>, number: usize, deadline: Instant) -> Result<Ticket, Error> {
        let lane = self.lanes.get(number);
        let ticket = |seq| Ticket { session: Arc::clone(&self), lane: number, seq };
        if let Some(seq) = lane.window.lock().begin() {
            return Ok(ticket(seq));
        }
        loop {
            let mut room = std::pin::pin!(lane.has_room.notified());
            room.as_mut().enable();
            let acked_below = {
                let mut window = lane.window.lock();
                if let Some(seq) = window.begin() {
                    return Ok(ticket(seq));
                }
                window.acked_below()
            };
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                let seq = acked_below + skv_proto::Error::WINDOW;
                return Err(Error::Refused(skv_proto::Error::WindowExceeded { seq, acked_below }));
            }
        }
    }
}

/// The session that new mutations use.
#[derive(Debug)]
pub(crate) struct Sessions {
    router: Arc<Router>,
    attempt_timeout: Duration,
    current: RwLock<Option<Arc<Session>>>,
    /// A lock, held by the call that opens the next session.
    opening: Arc<tokio::sync::Mutex<()>>,
}

/// The bound that a session must be newer than.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct After {
    /// The last session that wasn't accepted. Those before it don't come back: the clerk uses one
    /// session after the other.
    pub(crate) refused: Option<v1::SessionId>,
    /// The time up to which opened sessions aren't accepted.
    pub(crate) floor: u64,
}

impl After {
    fn accepts(self, session: v1::SessionId) -> bool {
        Some(session) != self.refused && session.opened_at > self.floor
    }
}

impl Sessions {
    pub(crate) fn new(router: Arc<Router>, attempt_timeout: Duration) -> Arc<Sessions> {
        Arc::new(Sessions { router, attempt_timeout, current: RwLock::new(None), opening: Arc::default() })
    }

    /// Takes a place for a mutation.
    pub(crate) async fn ticket(
        self: &Arc<Self>,
        placement: Placement,
        after: After,
        deadline: Instant,
    ) -> Result<Ticket, Error> {
        let now = Instant::now();
        let session = match self.usable(placement.layout(), after, now) {
            Some(session) => session,
            None => self.open(placement, after, deadline).await?,
        };
        if session.age(now) > Age::Young {
            self.renew(placement, session.id);
        }
        session.ticket(placement.lane(), deadline).await
    }

    /// Returns the current session if it fits.
    fn usable(&self, layout: Layout, after: After, now: Instant) -> Option<Arc<Session>> {
        let current = self.current.read();
        let session = current.as_ref()?;
        let fits = session.layout == layout && after.accepts(session.id) && session.age(now) < Age::Over;
        fits.then(|| Arc::clone(session))
    }

    /// Opens the next session while the old one is still used: servers forget sessions that
    /// are old, and the calls of the old one should have ended by then.
    fn renew(self: &Arc<Self>, placement: Placement, old: v1::SessionId) {
        let Ok(alone) = Arc::clone(&self.opening).try_lock_owned() else { return };
        let sessions = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = alone;
            let after = After { refused: Some(old), floor: 0 };
            let deadline = Instant::now() + sessions.attempt_timeout;
            if sessions.usable(placement.layout(), after, Instant::now()).is_none()
                && let Err(error) = sessions.open_alone(placement, after, deadline).await
            {
                tracing::debug!(%error, "can't open the next session yet");
            }
        });
    }

    async fn open(
        &self,
        placement: Placement,
        after: After,
        deadline: Instant,
    ) -> Result<Arc<Session>, Error> {
        let Ok(_alone) = tokio::time::timeout_at(deadline, self.opening.lock()).await else {
            return Err(Error::Unreachable("no session was opened in time".to_owned()));
        };
        match self.usable(placement.layout(), after, Instant::now()) {
            Some(session) => Ok(session),
            None => self.open_alone(placement, after, deadline).await,
        }
    }

    /// Any server can open a session; the one that will get the mutation has the clock that
    /// suits best. The next one is asked beside one that keeps silent. The time of an attempt doesn't grow: a
    /// server opens a session without its disk or others, and one that stands still would only keep the others
    /// from being asked again.
    async fn open_alone(
        &self,
        placement: Placement,
        after: After,
        deadline: Instant,
    ) -> Result<Arc<Session>, Error> {
        let patience = Patience { attempt: self.attempt_timeout, deadline };
        let mut backoff = Backoff::default();
        let mut error = Error::Unreachable("no server is known".to_owned());
        loop {
            let servers = self.router.servers(Some(placement));
            match race(&servers, |server| open_at(server, after, patience), &mut 0).await {
                Ok((_, answer)) => {
                    let session = Arc::new(Session::new(&answer, placement.layout()));
                    *self.current.write() = Some(Arc::clone(&session));
                    return Ok(session);
                }
                Err(mut failures) => error = failures.pop().map_or(error, |(_, failure)| failure),
            }
            let pause = backoff.next(self.router.jitter());
            if tokio::time::timeout_at(deadline, tokio::time::sleep(pause)).await.is_err() {
                return Err(error);
            }
        }
    }
}

async fn open_at(server: &Peer, after: After, patience: Patience) -> Result<v1::OpenSessionResponse, Error> {
    match server.open_session(after.floor, patience).await {
        Ok(answer) if answer.session.is_some_and(|id| after.accepts(id)) => Ok(answer),
        Ok(_) => Err(Error::Unreachable(format!("{} opened no new session", server.address()))),
        Err(Failure::Answered(answer)) => Err(Error::Refused(*answer)),
        Err(Failure::NotSent(why) | Failure::Lost(why) | Failure::Overdue(why)) => {
            Err(Error::Unreachable(why.to_string()))
        }
    }
}
