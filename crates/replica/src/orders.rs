//! What the shard managers have told a replica, and its leader acts on.

use std::time::Duration;

use parking_lot::Mutex;
use skv_proto::v1;
use skv_sharding::{MapRevision, Replica};
use skv_store::Move;
use tokio::sync::Notify;
use tokio::time::Instant;

/// For how long orders count against those of an older version: several registrations.
const LASTING: Duration = Duration::from_secs(10);

/// The newest orders, and the way to have the managers hear of something soon.
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

    /// Returns the version of the newest orders.
    pub(super) fn version(&self) -> MapRevision {
        self.newest.lock().version
    }

    /// Takes the next orders over, unless they are older: see [`Orders`].
    pub(super) fn replace(&self, next: Orders) {
        self.newest.lock().replace(next);
    }

    /// Has the replica register at once: there is something to report.
    pub(super) fn report_soon(&self) {
        self.news.notify_one();
    }

    /// Waits until there is something to report.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

/// What the shard managers have told this replica.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// Under which version.
    pub(super) version: MapRevision,
    /// The group's founding record, until the group is founded.
    pub(super) founding: Option<v1::BootstrapRecord>,
    /// Replicas that wait to be admitted.
    pub(super) candidates: Vec<Replica>,
    /// All shards that the group is to hand to others, and those that stay after all; `None`:
    /// nothing was said of them.
    pub(super) moves: Option<Vec<Move>>,
    given_at: Instant,
}

impl Orders {
    /// No orders.
    pub(super) fn none() -> Self {
        Orders::given_now(MapRevision(0), None, Vec::new(), None)
    }

    /// To found the group.
    pub(super) fn to_found(version: MapRevision, record: v1::BootstrapRecord) -> Self {
        Orders::given_now(version, Some(record), Vec::new(), None)
    }

    /// To admit these replicas, and to hand these shards over.
    pub(super) fn to_serve(version: MapRevision, candidates: Vec<Replica>, moves: Vec<Move>) -> Self {
        Orders::given_now(version, None, candidates, Some(moves))
    }

    fn given_now(
        version: MapRevision,
        founding: Option<v1::BootstrapRecord>,
        candidates: Vec<Replica>,
        moves: Option<Vec<Move>>,
    ) -> Self {
        Orders { version, founding, candidates, moves, given_at: Instant::now() }
    }

    /// Takes the next orders over. Those of an older version come from a manager that hasn't
    /// read the record lately, and count only when nobody has given newer ones for a while:
    /// then the record itself was lost, and has begun again at a lower version.
    fn replace(&mut self, next: Orders) {
        let is_older = next.version < self.version;
        if !is_older || next.given_at.duration_since(self.given_at) > LASTING {
            *self = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders of this version, so many seconds after `start`.
    fn orders(version: u64, start: Instant, seconds: u64) -> Orders {
        let given_at = start + Duration::from_secs(seconds);
        Orders { given_at, ..Orders::to_serve(MapRevision(version), Vec::new(), Vec::new()) }
    }

    #[test]
    fn orders_of_an_older_version_do_not_replace_newer_ones() {
        let start = Instant::now();
        let mut current = Orders::none();
        // Two managers in turn, of which one is behind.
        for second in 0..60 {
            current.replace(orders(7, start, second));
            current.replace(orders(6, start, second));
            assert_eq!(current.version, MapRevision(7));
        }
        current.replace(orders(8, start, 60));
        assert_eq!(current.version, MapRevision(8));
    }

    #[test]
    fn when_all_managers_know_an_older_version_it_counts() {
        let start = Instant::now();
        let mut current = orders(7, start, 0);
        current.replace(orders(3, start, 9));
        assert_eq!(current.version, MapRevision(7));
        current.replace(orders(3, start, 11));
        assert_eq!(current.version, MapRevision(3));
    }
}
