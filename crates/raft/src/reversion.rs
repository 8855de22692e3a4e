//! Followers whose disks went back in time: restored from an older copy, or of a kind that reports syncs
//! which it hasn't made. Such a follower lacks entries that it acknowledged, and perhaps votes.
//!
//! A leader recognises it by its own memory: the follower acknowledged an entry to it and now says that
//! there is no such entry in its log. No message that is late says so, since the answers of a stream
//! come in their order, and since a heartbeat names an entry that was acknowledged before. From then on
//! the follower counts for nothing here, and gets nothing but the message that it went back.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_sharding::ReplicaId;

use crate::types::{LogId, Vote};

/// The entries that each follower acknowledged to one leader. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<BTreeMap<ReplicaId, Known>>>);

#[derive(Debug, Clone, Copy)]
struct Known {
    /// The leader's vote, by which one of its reigns is told from another.
    leader: Vote,
    upto: LogId,
    gone_back: bool,
}

impl Acknowledged {
    /// Notes that a follower has the log up to an entry.
    pub(crate) fn note(&self, follower: ReplicaId, leader: &Vote, upto: LogId) {
        let mut known = self.0.lock();
        let known = known.entry(follower).or_insert(Known { leader: *leader, upto, gone_back: false });
        if known.leader != *leader {
            *known = Known { leader: *leader, upto, gone_back: false };
        } else if known.upto < upto {
            known.upto = upto;
        }
    }

    /// Notes that a follower lacks an entry. Returns true if that shows that it went back in time: it
    /// acknowledged the entry, or a later one, to the same leader.
    pub(crate) fn lacks(&self, follower: ReplicaId, leader: &Vote, entry: &LogId) -> bool {
        let mut known = self.0.lock();
        let Some(known) = known.get_mut(&follower).filter(|known| known.leader == *leader) else {
            return false;
        };
        let is_news = !known.gone_back && entry.index <= known.upto.index;
        known.gone_back |= is_news;
        is_news
    }

    /// Returns the last entry that a follower acknowledged before it went back in time; `None` if it
    /// didn't, as far as this leader knows.
    pub(crate) fn gone_back(&self, follower: ReplicaId) -> Option<LogId> {
        self.0.lock().get(&follower).filter(|known| known.gone_back).map(|known| known.upto)
    }

    /// Forgets a follower that doesn't understand that it went back, or has what it lacked.
    pub(crate) fn forget(&self, follower: ReplicaId) {
        self.0.lock().remove(&follower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::leader;

    const LEADER: ReplicaId = ReplicaId(1);
    const FOLLOWER: ReplicaId = ReplicaId(2);

    fn id(index: u64) -> LogId {
        LogId { leader_id: leader(3, LEADER), index }
    }

    fn reign(term: u64) -> Vote {
        Vote { leader_id: leader(term, LEADER), committed: true }
    }

    #[test]
    fn who_lacks_what_it_acknowledged_went_back() {
        let acknowledged = Acknowledged::default();
        assert!(!acknowledged.lacks(FOLLOWER, &reign(3), &id(9)), "it never had any of it");
        acknowledged.note(FOLLOWER, &reign(3), id(5));
        acknowledged.note(FOLLOWER, &reign(3), id(4));
        assert!(!acknowledged.lacks(FOLLOWER, &reign(3), &id(6)), "it is only behind");
        assert_eq!(acknowledged.gone_back(FOLLOWER), None);
        assert!(acknowledged.lacks(FOLLOWER, &reign(3), &id(5)));
        assert!(!acknowledged.lacks(FOLLOWER, &reign(3), &id(4)), "that is known");
        acknowledged.note(FOLLOWER, &reign(3), id(7));
        assert_eq!(acknowledged.gone_back(FOLLOWER), Some(id(7)), "what comes later makes it no better");
        assert_eq!(acknowledged.gone_back(LEADER), None);
        acknowledged.forget(FOLLOWER);
        assert_eq!(acknowledged.gone_back(FOLLOWER), None);
    }

    /// Another leader may have had it drop entries in between that no quorum had.
    #[test]
    fn what_was_acknowledged_in_another_term_is_no_proof() {
        let acknowledged = Acknowledged::default();
        acknowledged.note(FOLLOWER, &reign(3), id(5));
        assert!(!acknowledged.lacks(FOLLOWER, &reign(4), &id(5)));
        acknowledged.note(FOLLOWER, &reign(4), id(2));
        assert!(!acknowledged.lacks(FOLLOWER, &reign(4), &id(5)));
        assert!(acknowledged.lacks(FOLLOWER, &reign(4), &id(2)));
    }
}
