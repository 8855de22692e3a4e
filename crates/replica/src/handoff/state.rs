//! The shards that come to a replica's group, and those that leave it, as its leader remembers them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_memory::Charge;
use skv_sharding::{Epoch, GroupId, GroupUid, Incarnation, ShardId};
use skv_store::{Departure, Peer};

use crate::handoff::brake::Delays;
use crate::handoff::watched::Watched;

/// The number of remembered sources from which on those that nobody knows are forgotten: twice the limit of groups.
const MOST_SOURCES: usize = 8192;

/// The shards that come to a replica's group, and leave it.
#[derive(Debug, Default)]
pub struct Handoffs {
    /// The delays of writers that are slowed down.
    pub delays: Arc<Delays>,
    /// The progress of the shards that come, when the leader last looked.
    pub(crate) watched: Mutex<Watched>,
    /// The epochs that targets of moves have refused because they passed them.
    passed: Mutex<BTreeMap<ShardId, Epoch>>,
    /// The shards that have room here and aren't whole yet.
    promises: Mutex<BTreeMap<ShardId, Promise>>,
    /// The newest incarnations of other groups that handed something over, or asked to: anybody may name one.
    sources: Mutex<BTreeMap<(GroupId, GroupUid), Source>>,
}

/// A group that handed something over.
#[derive(Debug, Clone, Copy)]
struct Source {
    /// The incarnation that the map showed then.
    recorded: Incarnation,
    newest: Incarnation,
}

/// The room of a shard that comes.
#[derive(Debug)]
struct Promise {
    epoch: Epoch,
    /// The bytes that its source has of it.
    bytes: u64,
    /// The bytes of it that are missing.
    missing: Charge,
}

impl Handoffs {
    /// Keeps the room of a shard that comes, until [`Self::keep_promises`] gives it back.
    pub(super) fn keep_promise(&self, shard: ShardId, epoch: Epoch, bytes: u64, missing: Charge) {
        if bytes > 0 {
            self.promises.lock().insert(shard, Promise { epoch, bytes, missing });
        }
    }

    /// Gives back the room of a shard: more of it is missing now, or it doesn't fit any more.
    pub(super) fn forget_promise(&self, shard: ShardId) {
        self.promises.lock().remove(&shard);
    }

    /// Returns true if a shard that comes has room.
    pub(super) fn has_promise(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.promises.lock().get(&shard).is_some_and(|promise| promise.epoch == epoch)
    }

    /// Gives back the room of shards that don't come any more, and of the parts that have come. `arrived`
    /// returns the bytes of a shard that are here; `None` if it doesn't come.
    pub(super) fn keep_promises(&self, arrived: impl Fn(ShardId, Epoch) -> Option<u64>) {
        self.promises.lock().retain(|shard, promise| {
            let Some(arrived) = arrived(*shard, promise.epoch) else { return false };
            promise.missing.change(promise.missing.bytes(), promise.bytes.saturating_sub(arrived));
            true
        });
    }

    /// Notes that the target of a move has passed its epoch. Returns true if that is new.
    pub(super) fn note_passed(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.passed.lock().insert(shard, epoch) != Some(epoch)
    }

    /// Takes a step of a group's incarnation while the map shows `recorded`. Returns the newest incarnation of
    /// that group that is known. As soon as the shard managers have recorded another one, that counts: of two
    /// that came from one, theirs is the group, whatever the numbers. Where many are remembered, those that
    /// `known` doesn't recognise are forgotten.
    pub(super) fn newest_life<Known: Fn(Peer) -> bool>(
        &self,
        Peer { group, uid }: Peer,
        recorded: Incarnation,
        theirs: Incarnation,
        known: impl FnOnce() -> Known,
    ) -> Incarnation {
        let mut sources = self.sources.lock();
        if sources.len() >= MOST_SOURCES && !sources.contains_key(&(group, uid)) {
            let is_known = known();
            sources.retain(|&(group, uid), _| is_known(Peer { group, uid }));
        }
        let source = sources.entry((group, uid)).or_insert(Source { recorded, newest: recorded });
        if source.recorded != recorded {
            *source = Source { recorded, newest: recorded };
        }
        source.newest = source.newest.max(theirs);
        source.newest
    }

    /// Returns the moves of these whose targets have passed their epochs, and forgets all others.
    pub(crate) fn passed(&self, departures: &[Departure]) -> Vec<(ShardId, Epoch)> {
        let mut passed = self.passed.lock();
        let is_one = |shard: ShardId, epoch: Epoch| {
            departures.iter().any(|departure| (departure.to.shard, departure.to.epoch) == (shard, epoch))
        };
        passed.retain(|&shard, epoch| is_one(shard, *epoch));
        passed.iter().map(|(&shard, &epoch)| (shard, epoch)).collect()
    }
}

#[cfg(test)]
mod tests {
    use skv_memory::Budget;

    use super::*;

    /// Returns the newest incarnation of a source that says which one it is. The map shows the one of uid 7.
    fn heard(handoffs: &Handoffs, uid: u64, recorded: u32, theirs: u32) -> u32 {
        let source = Peer { group: GroupId(0), uid: GroupUid(uid) };
        let known = || |source: Peer| source.uid == GroupUid(7);
        handoffs.newest_life(source, Incarnation(recorded), Incarnation(theirs), known).0
    }

    #[test]
    fn a_promise_is_room_for_what_is_missing() {
        let (handoffs, budget) = (Handoffs::default(), Budget::new(Some(512 << 20)));
        let promise = |shard, mib: u64| {
            let room = budget.promise(mib << 20)?;
            handoffs.keep_promise(ShardId(shard), Epoch(2), mib << 20, room);
            Some(())
        };
        assert!(promise(1, 200).is_some());
        assert!(promise(2, 200).is_none(), "two don't fit");
        handoffs.keep_promises(|_, epoch| (epoch == Epoch(2)).then_some(100 << 20));
        assert!(promise(3, 200).is_some(), "half of the first has come and isn't counted here");
        handoffs.keep_promises(|shard, _| (shard == ShardId(3)).then_some(0));
        assert!(promise(4, 130).is_some(), "the first is there");
        assert!(handoffs.has_promise(ShardId(4), Epoch(2)) && !handoffs.has_promise(ShardId(4), Epoch(3)));
        assert!(promise(5, 130).is_none());
        handoffs.forget_promise(ShardId(4));
        assert!(!handoffs.has_promise(ShardId(4), Epoch(2)) && promise(5, 130).is_some());
    }

    #[test]
    fn a_source_that_was_revived_since_is_known_before_and_after_the_managers_have_heard_of_it() {
        let handoffs = Handoffs::default();
        let newest = |recorded, theirs| heard(&handoffs, 7, recorded, theirs);
        assert_eq!(newest(0, 0), 0);
        assert_eq!(newest(0, 9), 9);
        assert_eq!(newest(0, 0), 9, "what is left of the life before");
        assert_eq!(newest(5, 5), 5, "the managers have another one that came from the same");
        assert_eq!(newest(5, 0), 5);
        assert_eq!(heard(&handoffs, 8, 0, 0), 0);
    }

    #[test]
    fn of_any_number_of_strangers_few_are_remembered_and_those_that_are_known_all_the_time() {
        let handoffs = Handoffs::default();
        assert_eq!(heard(&handoffs, 7, 0, 9), 9);
        for stranger in 0..3 * MOST_SOURCES as u64 {
            heard(&handoffs, 100 + stranger, 0, 1);
        }
        assert!(handoffs.sources.lock().len() <= MOST_SOURCES);
        assert_eq!(heard(&handoffs, 7, 0, 0), 9, "it is known");
    }
}
