//! The requests of an append stream that have no answer yet, and the time at which the stream is stalled.
//!
//! A stream is stalled if its oldest request gets no answer for long. One that was idle gives its next
//! request as much time as any other; and a slow follower, for which many requests wait, is given up only
//! if it stands still.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time after which a stream whose oldest request got no answer is given up and opened again.
/// Generous: a tight bound would cut off a follower that waits for its disk.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// The requests without an answer. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<VecDeque<Sent>>>);

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The time at which it was sent, or became the oldest one.
    since: Instant,
    has_entries: bool,
}

impl InFlight {
    /// Notes that a request is sent.
    pub(crate) fn send(&self, has_entries: bool) {
        self.0.lock().push_back(Sent { since: Instant::now(), has_entries });
    }

    /// Notes the answer to the oldest request. Returns true if that carried entries.
    pub(crate) fn answer(&self) -> bool {
        let mut waiting = self.0.lock();
        let answered = waiting.pop_front();
        if let Some(next) = waiting.front_mut() {
            next.since = Instant::now();
        }
        answered.is_some_and(|sent| sent.has_entries)
    }

    /// Returns the time at which the stream is stalled, unless an answer comes before.
    pub(crate) fn stalls_at(&self) -> Instant {
        self.0.lock().front().map_or_else(Instant::now, |sent| sent.since) + STALL
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_after_a_long_silence_has_as_much_time_as_any_other() {
        let in_flight = InFlight::default();
        let idle = in_flight.stalls_at();
        advance(STALL * 9 / 10).await;
        in_flight.send(true);
        let asked = in_flight.stalls_at();
        assert_eq!(asked, Instant::now() + STALL);
        assert!(asked > idle);
        advance(STALL).await;
        assert_eq!(in_flight.stalls_at(), Instant::now(), "nothing came");
        assert!(in_flight.answer());
        assert!(!in_flight.answer(), "nothing else was asked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_follower_stalls_nothing_while_it_answers() {
        let in_flight = InFlight::default();
        for has_entries in [true, false, true] {
            in_flight.send(has_entries);
        }
        for has_entries in [true, false] {
            advance(STALL * 9 / 10).await;
            assert!(in_flight.stalls_at() > Instant::now());
            assert_eq!(in_flight.answer(), has_entries);
        }
        advance(STALL).await;
        assert_eq!(in_flight.stalls_at(), Instant::now(), "it stands still");
    }
}
