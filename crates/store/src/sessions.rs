//! The sessions of one shard, by which a mutation happens at most once (invariants 3 and 4), in
//! bounded memory.
//!
//! A session is forgotten only after the floor was raised to its `opened_at`, and an unknown session
//! at or below the floor is refused: so a late duplicate meets its recorded answer, or a refusal, but
//! never executes. Time and counts only suggest the moment to forget; all replicas forget alike
//! because both are replicated.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use skv_proto::{Error, v1};
use skv_sharding::Revision;
use smallvec::SmallVec;

use crate::buckets::Buckets;
use crate::digest::{self, Digest};
use crate::{Answer, Limits, Outcome, Rejection};

/// The time in ms by which an unknown session may have been opened ahead of the shard's time.
const MAX_SKEW_MS: u64 = 60_000;

/// A clerk's exactly-once identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionId {
    /// The time in ms at which it was given out.
    pub(super) opened_at: u64,
    pub(super) random: u64,
}

/// Names one mutation of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId {
    pub(super) session: SessionId,
    /// The number of the request in its session, from 1.
    pub(super) seq: u64,
    /// The lowest number that is still open: the clerk has the answers of all lower ones.
    pub(super) acked_below: u64,
}

impl TryFrom<&v1::RequestId> for RequestId {
    type Error = Rejection;
    fn try_from(wire: &v1::RequestId) -> Result<Self, Rejection> {
        let session = wire.session.as_ref().ok_or(Rejection::InvalidRequestId)?;
        if wire.seq == 0 {
            return Err(Rejection::InvalidRequestId);
        }
        let session = (*session).into();
        Ok(Self { session, seq: wire.seq, acked_below: wire.acked_below })
    }
}

/// The part of a decided request that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Its answer.
    Answered(Answer),
    /// The revision that an Append made. Its answer was too large to keep.
    Forgotten(Revision),
}

impl Decision {
    fn kind(&self) -> v1::command::Kind {
        match self {
            Decision::Answered(answer) => answer.kind(),
            Decision::Forgotten(_) => v1::command::Kind::Append,
        }
    }

    /// Returns the revision of the request and the bytes of its old value, if it holds one.
    pub(super) fn old_value(&self) -> Option<(Revision, usize)> {
        match self {
            Decision::Answered(Answer::Append { old: Some(old), revision }) => Some((*revision, old.size())),
            _ => None,
        }
    }
}

/// A request that was applied, and not yet acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) seq: u64,
    pub(super) decision: Decision,
}

/// A session as its shard knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The lowest sequence number that isn't refused. At least 1.
    pub(super) acked_below: u64,
    /// The shard's revision and time at its last use. Uses that are no mutation don't count.
    pub(super) used_revision: Revision,
    pub(super) used_at: u64,
    /// The decided requests by sequence number, all within the window above `acked_below`.
    pub(super) decided: SmallVec<[Decided; 1]>,
}

impl Session {
    /// Returns the number and the bytes of the old values that it keeps.
    pub(super) fn old_values(&self) -> (usize, usize) {
        old_values(&self.decided)
    }

    fn digest(&self) -> u64 {
        digest::of_session(self.id.opened_at, self.id.random, self.used_revision)
    }
}

impl From<SessionId> for v1::SessionId {
    fn from(id: SessionId) -> Self {
        Self { opened_at: id.opened_at, random: id.random }
    }
}

impl From<v1::SessionId> for SessionId {
    fn from(wire: v1::SessionId) -> Self {
        Self { opened_at: wire.opened_at, random: wire.random }
    }
}

/// The sessions of one shard.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    table: Buckets<Session>,
    floor: u64,
    /// Each session once, by a use of it that may no longer be the last: the last one is looked up
    /// when the entry comes to the top.
    by_use: BinaryHeap<Reverse<(Revision, SessionId)>>,
    /// The time in ms before which no session is due.
    due_at: u64,
    /// The old values that decisions hold, by the revision of the Append.
    old_values: BTreeMap<Revision, (SessionId, u64)>,
    old_value_bytes: usize,
    /// The number of decided requests of all sessions.
    decided: usize,
    digest: Digest,
    /// The sessions that were forgotten since copying of the shard began; `None` while it isn't
    /// copied.
    forgotten: Option<Vec<SessionId>>,
}

impl Sessions {
    /// Returns the sessions as a snapshot begins them; [`Sessions::restore`] adds each.
    pub(super) fn with_floor(floor: u64, sessions: usize) -> Self {
        Self { table: Buckets::with_capacity(sessions), floor, ..Self::default() }
    }

    /// Returns the number of sessions.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns the number of decided requests that are kept.
    pub(super) fn decided(&self) -> usize {
        self.decided
    }

    /// Returns the number of decided requests that are kept because their sessions have several open.
    pub(super) fn open(&self) -> usize {
        self.decided.saturating_sub(self.len())
    }

    /// Returns the number and the bytes of the old values that are kept.
    pub(super) fn old_values(&self) -> (usize, usize) {
        (self.old_values.len(), self.old_value_bytes)
    }

    /// Returns the bytes of all parts of the table that were copied so far because a view had them.
    pub(super) fn copied(&self) -> u64 {
        self.table.copied()
    }

    /// Returns the number of decided requests that a request releases, with the number and bytes of the old
    /// values that they keep; `None` if its session is unknown.
    pub(super) fn released_by(&self, id: &RequestId, hasher: &FixedState) -> Option<(usize, (usize, usize))> {
        let decided = &self.find(&id.session, hasher)?.decided;
        let released = decided.partition_point(|decided| decided.seq < id.acked_below);
        Some((released, old_values(&decided[..released])))
    }

    /// Returns the floor: unknown sessions opened at or before this time are not accepted.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns the sessions as they are now.
    pub(super) fn view(&self) -> Buckets<Session> {
        self.table.clone()
    }

    /// Returns the checksum of all sessions with their last use.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the sessions that were used after a revision of the shard.
    pub(super) fn used_after(&self, revision: Revision) -> impl Iterator<Item = &Session> {
        self.table.iter().filter(move |session| session.used_revision > revision)
    }

    /// Sets whether forgotten sessions are tracked from now on.
    pub(super) fn track_forgotten(&mut self, track: bool) {
        self.forgotten = track.then(Vec::new);
    }

    /// Returns the sessions that were forgotten while they are tracked, in their order.
    pub(super) fn forgotten(&self) -> &[SessionId] {
        self.forgotten.as_deref().unwrap_or_default()
    }

    /// Adds a forgotten session of a snapshot.
    pub(super) fn restore_forgotten(&mut self, id: SessionId) {
        self.forgotten.get_or_insert_default().push(id);
    }

    /// Returns true if a session may have been unused for its whole time to live at `time`.
    pub(super) fn may_be_due(&self, time: u64) -> bool {
        self.len() > 0 && time >= self.due_at
    }

    /// Returns `None` if the request must be executed now, else its recorded answer or the rejection.
    /// Changes nothing, so that a rejected request consumes nothing (invariant 3).
    pub(super) fn admit(
        &self,
        id: &RequestId,
        kind: v1::command::Kind,
        time: u64,
        hasher: &FixedState,
    ) -> Option<Outcome> {
        let session = self.find(&id.session, hasher);
        if session.is_none() {
            let opened_at = id.session.opened_at;
            if opened_at <= self.floor {
                return Some(Err(Rejection::SessionExpired { floor: self.floor }));
            }
            if opened_at > time.saturating_add(MAX_SKEW_MS) {
                return Some(Err(Rejection::ClockSkew { time }));
            }
        }
        let acked_below = id.acked_below.max(session.map_or(1, |s| s.acked_below));
        let seq = id.seq;
        if seq < acked_below {
            return Some(Err(Rejection::StaleSequence { seq, acked_below }));
        }
        if seq - acked_below >= Error::WINDOW {
            return Some(Err(Rejection::WindowExceeded { seq, acked_below }));
        }
        let decided = &session?.decided;
        let at = decided.binary_search_by_key(&seq, |d| d.seq).ok()?;
        Some(match &decided[at].decision {
            decision if decision.kind() != kind => Err(Rejection::ReusedRequestId),
            Decision::Answered(answer) => Ok(answer.clone()),
            Decision::Forgotten(revision) => Err(Rejection::AlreadyApplied { revision: *revision }),
        })
    }

    /// Remembers the answer of a request that was admitted and executed as `revision`.
    pub(super) fn record(
        &mut self,
        id: &RequestId,
        answer: Answer,
        revision: Revision,
        time: u64,
        limits: &Limits,
        hasher: &FixedState,
    ) {
        if self.find(&id.session, hasher).is_none() {
            while self.len() as u64 >= limits.max_sessions_per_shard {
                self.forget_least_recently_used(hasher);
            }
            self.insert(
                Session {
                    id: id.session,
                    acked_below: 1,
                    used_revision: revision,
                    used_at: time,
                    decided: SmallVec::new(),
                },
                limits,
                hasher,
            );
        }
        let decision = Decision::Answered(answer);
        if let Some((revision, bytes)) = decision.old_value() {
            self.old_values.insert(revision, (id.session, id.seq));
            self.old_value_bytes += bytes;
        }
        let Some(session) = find_mut(&mut self.table, &id.session, hasher) else { return };
        self.digest.remove(session.digest());
        session.used_revision = revision;
        self.digest.add(session.digest());
        session.used_at = time;
        session.acked_below = session.acked_below.max(id.acked_below);
        let acked = session.decided.partition_point(|d| d.seq < session.acked_below);
        self.decided = self.decided + 1 - acked;
        for gone in session.decided.drain(..acked) {
            if let Some((revision, bytes)) = gone.decision.old_value() {
                self.old_values.remove(&revision);
                self.old_value_bytes -= bytes;
            }
        }
        let at = session.decided.partition_point(|d| d.seq < id.seq);
        session.decided.insert(at, Decided { seq: id.seq, decision });
        if session.decided.capacity() > 4 * session.decided.len() {
            session.decided.shrink_to_fit();
        }
        self.keep_to_budget(limits, hasher);
    }

    /// Forgets the sessions that were unused for their time to live.
    pub(super) fn forget_due(&mut self, time: u64, limits: &Limits, hasher: &FixedState) {
        while self.may_be_due(time) {
            let Some(last) = self.least_recently_used(hasher) else { return };
            let due_at = last.used_at.saturating_add(limits.session_ttl_ms);
            if due_at > time {
                self.due_at = due_at;
                return;
            }
            self.forget_least_recently_used(hasher);
        }
    }

    /// Adds a session from a snapshot. May be called in any order. A session that comes twice is one: a
    /// snapshot that was judged is taken, whatever it holds.
    pub(super) fn restore(&mut self, session: Session, limits: &Limits, hasher: &FixedState) {
        self.remove(&session.id, hasher);
        self.decided += session.decided.len();
        for decided in &session.decided {
            if let Some((revision, bytes)) = decided.decision.old_value() {
                self.old_values.insert(revision, (session.id, decided.seq));
                self.old_value_bytes += bytes;
            }
        }
        self.insert(session, limits, hasher);
    }

    fn insert(&mut self, session: Session, limits: &Limits, hasher: &FixedState) {
        let due_at = session.used_at.saturating_add(limits.session_ttl_ms);
        self.due_at = if self.len() == 0 { due_at } else { self.due_at.min(due_at) };
        self.by_use.push(Reverse((session.used_revision, session.id)));
        self.digest.add(session.digest());
        self.table.insert(
            hasher.hash_one(session.id),
            session,
            |a, b| a.id == b.id,
            |s| hasher.hash_one(s.id),
        );
    }

    /// Takes a session out of the table and of all sums. Returns true if it was there.
    fn remove(&mut self, id: &SessionId, hasher: &FixedState) -> bool {
        let hash = |s: &Session| hasher.hash_one(s.id);
        let Some(gone) = self.table.remove(hasher.hash_one(id), |s| s.id == *id, hash) else { return false };
        self.digest.remove(gone.digest());
        self.decided -= gone.decided.len();
        for decided in gone.decided {
            if let Some((revision, bytes)) = decided.decision.old_value() {
                self.old_values.remove(&revision);
                self.old_value_bytes -= bytes;
            }
        }
        true
    }

    /// Returns the least recently used session, now on top of `by_use`.
    fn least_recently_used(&mut self, hasher: &FixedState) -> Option<&Session> {
        loop {
            let mut top = self.by_use.peek_mut()?;
            let Reverse((recorded, id)) = *top;
            let Some(session) = self.table.find(hasher.hash_one(id), |s| s.id == id) else {
                // A snapshot had the session twice.
                PeekMut::pop(top);
                continue;
            };
            let used = session.used_revision;
            if used == recorded {
                drop(top);
                return self.find(&id, hasher);
            }
            *top = Reverse((used, id));
        }
    }

    /// Forgets the least recently used session. Raises the floor before the session is gone
    /// (invariant 4).
    fn forget_least_recently_used(&mut self, hasher: &FixedState) {
        let Some(id) = self.least_recently_used(hasher).map(|s| s.id) else { return };
        self.floor = self.floor.max(id.opened_at);
        self.by_use.pop();
        if self.remove(&id, hasher)
            && let Some(forgotten) = &mut self.forgotten
        {
            forgotten.push(id);
        }
    }

    /// Gives up the oldest old values until the rest fits.
    pub(super) fn keep_to_budget(&mut self, limits: &Limits, hasher: &FixedState) {
        while self.old_value_bytes as u64 > limits.max_old_value_bytes_per_shard {
            let Some((revision, (id, seq))) = self.old_values.pop_first() else { return };
            let Some(session) = find_mut(&mut self.table, &id, hasher) else { return };
            let Ok(at) = session.decided.binary_search_by_key(&seq, |d| d.seq) else { return };
            let decision =
                std::mem::replace(&mut session.decided[at].decision, Decision::Forgotten(revision));
            self.old_value_bytes -= decision.old_value().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn find(&self, id: &SessionId, hasher: &FixedState) -> Option<&Session> {
        self.table.find(hasher.hash_one(id), |s| s.id == *id)
    }
}

/// Returns the number and the bytes of the old values that decided requests keep.
fn old_values(decided: &[Decided]) -> (usize, usize) {
    let sizes = decided.iter().filter_map(|decided| Some(decided.decision.old_value()?.1));
    sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
}

fn find_mut<'a>(
    table: &'a mut Buckets<Session>,
    id: &SessionId,
    hasher: &FixedState,
) -> Option<&'a mut Session> {
    table.find_mut(hasher.hash_one(id), |s| s.id == *id)
}
