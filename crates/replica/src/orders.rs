//! The orders of the shard managers to a replica, on which its leader acts.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use skv_proto::v1;
use skv_sharding::{MapRevision, Replica, ReplicaId};
use skv_store::Move;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The time for which orders count against those of an older revision: several registrations.
const LASTING: Duration = Duration::from_secs(10);

/// The shortest time from a report to one of news. Shards that come one after the other are reported together, since
/// a shard manager writes all of its record for each report of new ones.
const PACE: Duration = Duration::from_millis(100);

/// The newest orders, and the way to report to the managers soon.
#[derive(Debug)]
pub(crate) struct Instructions {
    newest: Mutex<Orders>,
    news: Notify,
}

impl Instructions {
    /// Begins without orders.
    pub(super) fn none() -> Self {
        Instructions { newest: Mutex::new(Orders::none()), news: Notify::new() }
    }

    /// Returns the newest orders.
    pub(super) fn current(&self) -> Orders {
        self.newest.lock().clone()
    }

    /// Returns the revision of the newest orders.
    pub(super) fn revision(&self) -> MapRevision {
        self.newest.lock().revision
    }

    /// Takes the next orders over, unless they are older: see [`Orders`].
    pub(super) fn replace(&self, next: Orders) {
        self.newest.lock().replace(next);
    }

    /// Has the replica register soon: there is something to report.
    pub(super) fn report_soon(&self) {
        self.news.notify_one();
    }

    /// Waits until the turn of the next report has come, and there is something to report. A caller that stops
    /// waiting loses no news.
    pub(super) async fn news(&self, last_report: Instant) {
        tokio::time::sleep_until(last_report + PACE).await;
        self.news.notified().await;
    }
}

/// The orders of the shard managers to this replica.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// The revision of the map under which they were given.
    pub(super) revision: MapRevision,
    /// The group's founding record, until the group is founded.
    pub(super) founding: Option<v1::BootstrapRecord>,
    /// Replicas that wait to be admitted.
    pub(super) candidates: Vec<Replica>,
    /// All shards that the group must hand to others, and those that stay after all; `None` if
    /// nothing is known of them.
    pub(super) moves: Option<Vec<Move>>,
    /// The voters that the managers knew when they named the candidates; `None` if this replica hadn't
    /// reported them as a leader whom they believe.
    pub(super) known_voters: Option<BTreeSet<ReplicaId>>,
    given_at: Instant,
}

impl Orders {
    /// Returns no orders.
    pub(super) fn none() -> Self {
        Orders::given_now(MapRevision(0), None, Vec::new(), None)
    }

    /// Returns the order to found the group.
    pub(super) fn to_found(revision: MapRevision, record: v1::BootstrapRecord) -> Self {
        Orders::given_now(revision, Some(record), Vec::new(), None)
    }

    /// Returns the order to admit these replicas, and to hand these shards over, in answer to a report
    /// that named these voters.
    pub(super) fn to_serve(
        revision: MapRevision,
        candidates: Vec<Replica>,
        moves: Vec<Move>,
        known_voters: Option<BTreeSet<ReplicaId>>,
    ) -> Self {
        Orders { known_voters, ..Orders::given_now(revision, None, candidates, Some(moves)) }
    }

    fn given_now(
        revision: MapRevision,
        founding: Option<v1::BootstrapRecord>,
        candidates: Vec<Replica>,
        moves: Option<Vec<Move>>,
    ) -> Self {
        Orders { revision, founding, candidates, moves, known_voters: None, given_at: Instant::now() }
    }

    /// Takes the next orders over. Those of an older revision come from a manager that hasn't
    /// read the record lately, and count only when nobody has given newer ones for a while:
    /// then the record itself was lost, and has begun again at a lower revision.
    fn replace(&mut self, next: Orders) {
        let is_older = next.revision < self.revision;
        if !is_older || next.given_at.duration_since(self.given_at) > LASTING {
            *self = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns orders of this revision, `seconds` seconds after `start`.
    fn orders(revision: u64, start: Instant, seconds: u64) -> Orders {
        let given_at = start + Duration::from_secs(seconds);
        Orders { given_at, ..Orders::to_serve(MapRevision(revision), Vec::new(), Vec::new(), None) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_shortly_after_a_report_is_reported_together() {
        let instructions = Instructions::none();
        let last_report = Instant::now();
        for _ in 0..10 {
            instructions.report_soon();
            // The caller stops waiting for another reason.
            let news = tokio::time::timeout(PACE / 100, instructions.news(last_report)).await;
            assert!(news.is_err(), "its turn hasn't come");
        }
        let news = |last_report| tokio::time::timeout(PACE * 10, instructions.news(last_report));
        news(last_report).await.expect("no news is lost");
        assert!(last_report.elapsed() >= PACE);
        assert!(news(Instant::now()).await.is_err(), "one report takes all");
    }

    #[test]
    fn orders_of_an_older_version_do_not_replace_newer_ones() {
        let start = Instant::now();
        let mut current = Orders::none();
        // Two managers in turn, of which one is behind.
        for second in 0..60 {
            current.replace(orders(7, start, second));
            current.replace(orders(6, start, second));
            assert_eq!(current.revision, MapRevision(7));
        }
        current.replace(orders(8, start, 60));
        assert_eq!(current.revision, MapRevision(8));
    }

    #[test]
    fn when_all_managers_know_an_older_version_it_counts() {
        let start = Instant::now();
        let mut current = orders(7, start, 0);
        current.replace(orders(3, start, 9));
        assert_eq!(current.revision, MapRevision(7));
        current.replace(orders(3, start, 11));
        assert_eq!(current.revision, MapRevision(3));
    }
}
