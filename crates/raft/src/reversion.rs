//! Followers whose disks went back in time: restored from an older copy, or of a kind that reports syncs
//! which it hasn't made. Such a follower lacks entries that it acknowledged, and perhaps votes.
//!
//! A leader recognises it by its own memory: the follower acknowledged an entry to it and now says that
//! there is no such entry in its log. No message that is late says so, since the answers of a stream
//! come in their order, and since a heartbeat names an entry that was acknowledged before. From then on
//! the follower counts for nothing here, and gets nothing but the message that it went back.
//!
//! The follower compares that message with its own log (`Consensus::lacks`). If it lacks
//! the entry, its files go to quarantine (`lifecycle.rs` in `skv-replica`).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_proto::v1::TellReversionResponse;
use skv_proto::v1::tell_reversion_response::Verdict as WireVerdict;
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
    /// True once openraft was told of a conflict since then.
    conflict_taken: bool,
}

impl Known {
    fn new(leader: &Vote, upto: LogId) -> Self {
        Known { leader: *leader, upto, gone_back: false, conflict_taken: false }
    }
}

/// A follower's own finding whether it lacks an entry that it acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lacks the entry: its disk went back in time.
    Lacks,
    /// It has the entry.
    Has,
    /// It can't tell now: it follows a later leader, or can't read its log.
    CannotTell,
}

/// The knowledge by which a follower judges itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// Its vote, which may have gone back with the log.
    pub(crate) vote: Option<Vote>,
    /// The last entry that it applied, or that its snapshot covers.
    pub(crate) applied: Option<LogId>,
    /// The content of its log at the index of the entry.
    pub(crate) held: Held,
}

/// The content of a log at one index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    /// An entry, perhaps of another leader.
    Entry(LogId),
    /// The log ends before the index, or begins after it.
    Nothing,
    /// The log can't be read.
    Unreadable,
}

impl Verdict {
    /// Judges a follower that is said to have acknowledged an entry to a leader with this vote. Only a later
    /// leader may have had it drop the entry.
    pub(crate) fn of(leader: &Vote, entry: &LogId, own: &Own) -> Verdict {
        if own.applied.is_some_and(|applied| applied.index >= entry.index) {
            return Verdict::Has;
        }
        match own.held {
            Held::Entry(held) if held == *entry => Verdict::Has,
            Held::Entry(_) | Held::Nothing if own.vote <= Some(*leader) => Verdict::Lacks,
            Held::Entry(_) | Held::Nothing | Held::Unreadable => Verdict::CannotTell,
        }
    }
}

impl From<TellReversionResponse> for Verdict {
    fn from(answer: TellReversionResponse) -> Self {
        match answer.verdict() {
            _ if answer.begins_again => Verdict::Lacks,
            WireVerdict::Lacks | WireVerdict::CannotTell => Verdict::CannotTell,
            // A follower of an older version has to catch up as it is.
            WireVerdict::Has | WireVerdict::Unspecified => Verdict::Has,
        }
    }
}

impl From<Verdict> for TellReversionResponse {
    fn from(verdict: Verdict) -> Self {
        let wire = match verdict {
            Verdict::Lacks => WireVerdict::Lacks,
            Verdict::Has => WireVerdict::Has,
            Verdict::CannotTell => WireVerdict::CannotTell,
        };
        TellReversionResponse { begins_again: verdict == Verdict::Lacks, verdict: wire as i32 }
    }
}

impl Acknowledged {
    /// Notes that a follower has the log up to an entry.
    pub(crate) fn note(&self, follower: ReplicaId, leader: &Vote, upto: LogId) {
        let mut known = self.0.lock();
        let known = known.entry(follower).or_insert(Known::new(leader, upto));
        if known.leader != *leader {
            *known = Known::new(leader, upto);
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

    /// Returns true, once, if a follower that went back in time acknowledged this entry to this leader.
    pub(crate) fn take_conflict(&self, follower: ReplicaId, leader: &Vote, entry: &LogId) -> bool {
        let mut known = self.0.lock();
        let Some(known) = known.get_mut(&follower).filter(|known| known.gone_back) else { return false };
        let is_due = known.leader == *leader && !known.conflict_taken && entry.index <= known.upto.index;
        known.conflict_taken |= is_due;
        is_due
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

    /// A heartbeat's answer may come when nobody waits for it any more.
    #[test]
    fn openraft_is_told_once_of_a_conflict_that_only_we_have_heard() {
        let acknowledged = Acknowledged::default();
        let take = |term, index| acknowledged.take_conflict(FOLLOWER, &reign(term), &id(index));
        acknowledged.note(FOLLOWER, &reign(3), id(5));
        assert!(!take(3, 5), "nothing is wrong with it");
        acknowledged.lacks(FOLLOWER, &reign(3), &id(4));
        assert!(!take(3, 6), "it never acknowledged that");
        assert!(!take(4, 5), "that is another leader's");
        assert!(take(3, 5));
        assert!(!take(3, 5), "it is told that it went back, and gets nothing else");
    }

    #[test]
    fn a_follower_lacks_what_no_later_leader_had_it_drop() {
        let another = LogId { leader_id: leader(2, LEADER), index: 5 };
        for (vote, applied, held, verdict) in [
            (reign(3), 4, Held::Nothing, Verdict::Lacks),
            (reign(2), 4, Held::Nothing, Verdict::Lacks),
            (reign(3), 4, Held::Entry(another), Verdict::Lacks),
            (reign(3), 4, Held::Entry(id(5)), Verdict::Has),
            (reign(4), 4, Held::Entry(id(5)), Verdict::Has),
            (reign(3), 5, Held::Nothing, Verdict::Has),
            (reign(4), 4, Held::Nothing, Verdict::CannotTell),
            (reign(4), 4, Held::Entry(another), Verdict::CannotTell),
            (reign(3), 4, Held::Unreadable, Verdict::CannotTell),
        ] {
            let own = Own { vote: Some(vote), applied: Some(id(applied)), held };
            assert_eq!(Verdict::of(&reign(3), &id(5), &own), verdict, "{own:?}");
        }
    }

    #[test]
    fn only_a_follower_that_has_the_entry_is_acquitted() {
        let read = |verdict: Verdict| Verdict::from(TellReversionResponse::from(verdict));
        for verdict in [Verdict::Lacks, Verdict::Has, Verdict::CannotTell] {
            assert_eq!(read(verdict), verdict);
        }
        let of_an_older_version = |begins_again| TellReversionResponse { begins_again, verdict: 0 };
        assert_eq!(Verdict::from(of_an_older_version(true)), Verdict::Lacks);
        assert_eq!(Verdict::from(of_an_older_version(false)), Verdict::Has);
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
