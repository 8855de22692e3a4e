//! The progress of the shards that come to a group.

use std::collections::BTreeMap;
use std::time::Duration;

use skv_sharding::ShardId;
use skv_store::Arrival;
use tokio::time::Instant;

/// The time without a change after which an arrival stands still, and its source is asked after it.
const STILL: Duration = Duration::from_secs(10);

/// The state of the arrivals when the leader last looked.
#[derive(Debug, Default)]
pub(crate) struct Watched(BTreeMap<ShardId, Known>);

#[derive(Debug)]
struct Known {
    arrival: Arrival,
    since: Instant,
    asked: Instant,
}

impl Watched {
    /// Returns the arrivals that haven't changed for [`STILL`]. Each is named once in that time.
    pub(super) fn still(&mut self, arrivals: Vec<Arrival>, now: Instant) -> Vec<Arrival> {
        self.0.retain(|_, known| arrivals.contains(&known.arrival));
        let mut still = Vec::new();
        for arrival in arrivals {
            let known = self.0.entry(arrival.shard).or_insert(Known { arrival, since: now, asked: now });
            if now.duration_since(known.asked) >= STILL {
                known.asked = now;
                still.push(arrival);
            }
        }
        still
    }

    /// Returns the number of these arrivals that make progress, or may do so.
    pub(super) fn progressing(&self, arrivals: impl Iterator<Item = Arrival>, now: Instant) -> usize {
        let stands = |arrival: &Arrival| {
            let known = self.0.get(&arrival.shard).filter(|known| known.arrival == *arrival);
            known.is_some_and(|known| now.duration_since(known.since) >= STILL)
        };
        arrivals.filter(|arrival| !stands(arrival)).count()
    }
}

#[cfg(test)]
mod tests {
    use skv_sharding::{Epoch, GroupId, GroupUid};

    use super::*;
    use skv_store::Peer;

    fn arrival(shard: u32, bytes: u64) -> Arrival {
        let source = Peer { group: GroupId(0), uid: GroupUid(7) };
        Arrival { shard: ShardId(shard), epoch: Epoch(2), source, bytes }
    }

    #[test]
    fn what_stands_still_is_asked_after_and_keeps_nobody_out() {
        let (mut watched, start) = (Watched::default(), Instant::now());
        let both = |bytes| vec![arrival(1, 5), arrival(2, bytes)];
        let progressing = |watched: &Watched, bytes, now| watched.progressing(both(bytes).into_iter(), now);
        assert!(watched.still(both(1), start).is_empty());
        let halfway = start + STILL / 2;
        assert!(watched.still(both(2), halfway).is_empty(), "the second progresses");
        let later = start + STILL;
        assert_eq!(progressing(&watched, 2, later), 1);
        assert_eq!(watched.still(both(2), later), [arrival(1, 5)]);
        assert!(watched.still(both(2), later).is_empty(), "it has just been asked after");
        assert_eq!(progressing(&watched, 2, halfway + STILL), 0);
        assert_eq!(progressing(&watched, 3, halfway + STILL), 1, "it progressed since the last look");
    }
}
