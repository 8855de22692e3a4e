//! The shards on their way, and their progress. Pure: computed from the plan, the shard map, and
//! the shards that the groups report.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skv_proto::v1;
use skv_proto::v1::shard_status::State as ShardState;
use skv_sharding::{GroupId, ShardId};

/// A shard on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Move {
    pub(super) shard: ShardId,
    pub(super) source: GroupId,
    pub(super) target: GroupId,
    /// `None` until a group has reported it.
    pub(super) keys: Option<u64>,
    /// The size of all keys and values.
    pub(super) bytes: Option<u64>,
    /// Bytes that the target has.
    #[serde(skip)]
    came: u64,
    #[serde(skip)]
    phase: Phase,
}

/// The phase of a move: one of its three phases at the source, or over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The move waits for its turn.
    Queued,
    /// The source serves the shard, which is being copied.
    Copying,
    /// No group serves the shard, for a moment.
    Frozen,
    /// The target serves the shard, and the map says so.
    Arrived,
}

/// The number of moves in each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) queued: usize,
    pub(super) copying: usize,
    pub(super) frozen: usize,
    pub(super) arrived: usize,
}

/// The end of watching moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Every shard arrived.
    Done,
    /// The user stopped it.
    Stopped,
    /// The user didn't ask for it.
    NotWatched,
}

/// All moves that were seen, including those that are over.
#[derive(Debug, Clone, Default)]
pub(super) struct Moves(BTreeMap<ShardId, Move>);

impl Moves {
    pub(super) fn new(planned: &[v1::PlannedMove]) -> Moves {
        let planned = planned.iter().map(|planned| {
            let shard = ShardId(planned.shard);
            (shard, Move::new(shard, GroupId(planned.source), GroupId(planned.target)))
        });
        Moves(planned.collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Move> {
        self.0.values()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in the current places of shards, and their places in the newest configuration.
    pub(super) fn follow(&mut self, owners: &BTreeMap<ShardId, GroupId>, goal: &BTreeMap<ShardId, GroupId>) {
        for (&shard, &owner) in owners {
            let target = goal.get(&shard).copied().unwrap_or(owner);
            let known = self.0.get_mut(&shard);
            if owner != target {
                if known.is_none_or(|known| !known.is_under_way(owner, target)) {
                    self.0.insert(shard, Move::new(shard, owner, target));
                }
            } else if let Some(known) = known {
                if known.source == owner {
                    // Another change called it back before it left.
                    self.0.remove(&shard);
                } else {
                    known.target = owner;
                    known.phase = Phase::Arrived;
                }
            }
        }
    }

    /// Takes in a group's report of its shards.
    pub(super) fn hear(&mut self, group: GroupId, shards: &[v1::ShardStatus]) {
        for status in shards {
            let Some(known) = self.0.get_mut(&ShardId(status.shard)) else { continue };
            match status.state() {
                ShardState::Arriving if group == known.target => known.came = status.bytes,
                ShardState::Unspecified | ShardState::Arriving => {}
                ShardState::Served | ShardState::Queued | ShardState::Copying | ShardState::Frozen => {
                    if group == known.target {
                        known.came = status.bytes;
                    } else if group != known.source {
                        continue;
                    }
                    (known.keys, known.bytes) = (Some(status.keys), Some(status.bytes));
                    if group == known.source && known.phase != Phase::Arrived {
                        known.phase = match status.state() {
                            ShardState::Copying => Phase::Copying,
                            ShardState::Frozen => Phase::Frozen,
                            _ => Phase::Queued,
                        };
                    }
                }
            }
        }
    }

    /// Returns the groups that hold any of these shards.
    pub(super) fn groups(&self) -> BTreeSet<GroupId> {
        self.0.values().flat_map(|known| [known.source, known.target]).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |phase| self.0.values().filter(|known| known.phase == phase).count();
        Counts {
            queued: count(Phase::Queued),
            copying: count(Phase::Copying),
            frozen: count(Phase::Frozen),
            arrived: count(Phase::Arrived),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.counts().arrived == self.len()
    }

    /// Returns the bytes of all of these shards; `None` as long as some aren't known.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.0.values().map(|known| known.bytes).sum()
    }

    /// Returns the bytes that their targets have. They are never more than the total, although a
    /// target may have data that has been deleted since.
    pub(super) fn came(&self) -> u64 {
        let came = |known: &Move| match (known.phase, known.bytes) {
            (Phase::Arrived, Some(bytes)) => bytes,
            (_, Some(bytes)) => known.came.min(bytes),
            (_, None) => known.came,
        };
        self.0.values().map(came).sum()
    }
}

impl Move {
    fn new(shard: ShardId, source: GroupId, target: GroupId) -> Move {
        Move { shard, source, target, keys: None, bytes: None, came: 0, phase: Phase::Queued }
    }

    fn is_under_way(&self, source: GroupId, target: GroupId) -> bool {
        (self.source, self.target) == (source, target) && self.phase != Phase::Arrived
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const G0: GroupId = GroupId(0);
    const G1: GroupId = GroupId(1);
    const G2: GroupId = GroupId(2);

    /// Applies a group's report of one shard.
    pub(in crate::resharding) fn says(
        shard: u32,
        state: ShardState,
        keys: u64,
        bytes: u64,
    ) -> v1::ShardStatus {
        v1::ShardStatus { shard, epoch: 1, state: state as i32, keys, bytes, other: None }
    }

    pub(in crate::resharding) fn planned(shard: u32, source: u32, target: u32) -> v1::PlannedMove {
        v1::PlannedMove { shard, source, target }
    }

    fn in_groups<const N: usize>(groups: [GroupId; N]) -> BTreeMap<ShardId, GroupId> {
        (0..).map(ShardId).zip(groups).collect()
    }

    fn counts(queued: usize, copying: usize, frozen: usize, arrived: usize) -> Counts {
        Counts { queued, copying, frozen, arrived }
    }

    #[test]
    fn moves_go_from_queued_to_arrived() {
        let mut moves = Moves::new(&[planned(0, 0, 1), planned(1, 0, 1)]);
        assert_eq!((moves.counts(), moves.bytes(), moves.came()), (counts(2, 0, 0, 0), None, 0));

        moves.hear(G0, &[says(0, ShardState::Copying, 3, 300), says(1, ShardState::Queued, 1, 100)]);
        moves.hear(G1, &[says(0, ShardState::Arriving, 1, 120)]);
        assert_eq!((moves.counts(), moves.bytes(), moves.came()), (counts(1, 1, 0, 0), Some(400), 120));

        moves.hear(G0, &[says(0, ShardState::Frozen, 3, 310), says(1, ShardState::Queued, 1, 100)]);
        assert_eq!((moves.counts(), moves.bytes()), (counts(1, 0, 1, 0), Some(410)));

        moves.follow(&in_groups([G1, G0]), &in_groups([G1, G1]));
        assert_eq!((moves.counts(), moves.came()), (counts(1, 0, 0, 1), 310));
        assert!(!moves.is_done());
        moves.follow(&in_groups([G1, G1]), &in_groups([G1, G1]));
        assert!(moves.is_done());
        assert_eq!(moves.came(), 410);
    }

    #[test]
    fn a_target_that_has_more_than_there_is_doesnt_count_beyond_it() {
        let mut moves = Moves::new(&[planned(0, 0, 1), planned(1, 0, 1)]);
        moves.hear(G0, &[says(0, ShardState::Copying, 1, 100), says(1, ShardState::Queued, 1, 100)]);
        moves.hear(G1, &[says(0, ShardState::Arriving, 2, 170)]);
        assert_eq!(moves.came(), 100);
    }

    #[test]
    fn a_shard_that_came_before_anybody_looked_is_told_by_its_target() {
        let mut moves = Moves::new(&[planned(0, 0, 1)]);
        moves.follow(&in_groups([G1]), &in_groups([G1]));
        assert_eq!((moves.is_done(), moves.bytes()), (true, None));
        moves.hear(G1, &[says(0, ShardState::Served, 2, 50)]);
        assert_eq!((moves.bytes(), moves.came(), moves.counts().arrived), (Some(50), 50, 1));
    }

    #[test]
    fn what_others_say_of_a_shard_is_nothing() {
        let mut moves = Moves::new(&[planned(0, 0, 1)]);
        moves.hear(G2, &[says(0, ShardState::Frozen, 9, 900), says(5, ShardState::Served, 9, 900)]);
        assert_eq!((moves.counts(), moves.bytes(), moves.came()), (counts(1, 0, 0, 0), None, 0));
    }

    #[test]
    fn changes_that_others_make_meanwhile_are_followed() {
        let mut moves = Moves::new(&[planned(0, 0, 1), planned(1, 0, 1)]);
        // Shard 0 is called back, shard 1 redirected, and shard 2 is new.
        moves.follow(&in_groups([G0, G0, G1]), &in_groups([G0, G2, G0]));
        let now: Vec<_> = moves.iter().map(|known| (known.shard.0, known.source, known.target)).collect();
        assert_eq!(now, [(1, G0, G2), (2, G1, G0)]);
        assert_eq!(moves.groups(), BTreeSet::from([G0, G1, G2]));
        // Redirected too late: it arrives elsewhere, and goes on from there.
        moves.follow(&in_groups([G0, G1, G0]), &in_groups([G0, G2, G0]));
        assert_eq!(moves.counts(), counts(1, 0, 0, 1));
    }
}
