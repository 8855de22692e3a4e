//! The moves on the way to the newest configuration, and the groups' reports of them. Pure.

use skv_sharding::{Epoch, GroupId, Owner, ShardId};

use crate::record::{PlannedMove, Record};

/// A shard that isn't yet in its group of the newest configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The shard.
    pub shard: ShardId,
    /// The group that owns the shard.
    pub source: GroupId,
    /// The group that receives the shard.
    pub target: GroupId,
}

/// Makes the moves lead to the newest configuration. A move that goes there already keeps its
/// epoch; any other gets one that no shard ever had. A move that is taken back becomes one to the
/// group that has the shard: until that has said so by the epoch, the shard may still go.
pub(super) fn follow_goal(record: &mut Record) {
    let goal = record.history.newest().owners;
    for ((shard, owner), to) in (0..).map(ShardId).zip(&record.owners).zip(goal) {
        if record.moves.get(&shard).map_or(owner.group, |planned| planned.to) != to {
            record.epoch.0 += 1;
            record.moves.insert(shard, PlannedMove { to, epoch: record.epoch });
        }
    }
}

/// Takes a leader's report on the shards that its group owns: of two reports the one with the higher epoch
/// wins. Returns the number of shards that have arrived.
pub(super) fn arrived(record: &mut Record, group: GroupId, owned: &[(ShardId, Epoch)]) -> usize {
    let mut arrived = 0;
    for &(shard, epoch) in owned {
        let Some(owner) = record.owners.get_mut(shard.0 as usize).filter(|owner| owner.epoch < epoch) else {
            continue;
        };
        let before = std::mem::replace(owner, Owner { group, epoch });
        // The shard may have come under an older epoch, if it was redirected away and back meanwhile.
        let has_come = |planned: &PlannedMove| planned.to == group && before.group != group;
        if record.moves.get(&shard).is_some_and(|planned| planned.epoch <= epoch || has_come(planned)) {
            record.moves.remove(&shard);
        }
        arrived += 1;
    }
    if arrived > 0 {
        // One that was redirected too late has arrived elsewhere, and goes on from there.
        follow_goal(record);
    }
    arrived
}

/// Returns true if [`arrived`] would change anything.
pub(super) fn is_news(record: &Record, owned: &[(ShardId, Epoch)]) -> bool {
    owned
        .iter()
        .any(|(shard, epoch)| record.owners.get(shard.0 as usize).is_some_and(|owner| owner.epoch < *epoch))
}

/// Gives higher epochs to moves out of a group whose targets have passed the present ones: a target that
/// was told that a move is over takes nothing under its epoch any more, though the group may have been
/// revived since and mean to go on with it. Returns the number of moves that were changed.
pub(super) fn renumber(record: &mut Record, group: GroupId, passed: &[(ShardId, Epoch)]) -> usize {
    let stale = stale(record, group, passed);
    for shard in &stale {
        record.epoch.0 += 1;
        if let Some(planned) = record.moves.get_mut(shard) {
            planned.epoch = record.epoch;
        }
    }
    stale.len()
}

/// Returns the shards that [`renumber`] would change the moves of.
pub(super) fn stale(record: &Record, group: GroupId, passed: &[(ShardId, Epoch)]) -> Vec<ShardId> {
    let is_stale = |&&(shard, epoch): &&(ShardId, Epoch)| {
        let owner = record.owners.get(shard.0 as usize);
        let planned = record.moves.get(&shard);
        owner.is_some_and(|owner| owner.group == group)
            && planned.is_some_and(|planned| planned.epoch == epoch)
    };
    passed.iter().filter(is_stale).map(|(shard, _)| *shard).collect()
}

/// Returns the shards that aren't where the newest configuration has them. Those that are there, and may
/// still go, aren't among them.
pub(super) fn pending(record: &Record) -> Vec<Pending> {
    let source = |shard: ShardId| record.owners.get(shard.0 as usize).map(|owner| owner.group);
    let pending = |(&shard, to): (&ShardId, &PlannedMove)| {
        Some(Pending { shard, source: source(shard)?, target: to.to })
    };
    record.moves.iter().filter_map(pending).filter(|pending| pending.source != pending.target).collect()
}

/// Returns the moves that a group must carry out, given the shards that it reports as its own.
pub(super) fn out_of(
    record: &Record,
    group: GroupId,
    owned: &[(ShardId, Epoch)],
) -> Vec<(ShardId, PlannedMove)> {
    let owner = |shard: ShardId| record.owners.get(shard.0 as usize);
    let is_there = |shard: &ShardId| owner(*shard).is_some_and(|owner| owner.group == group);
    let planned = record.moves.iter().filter(|(shard, _)| is_there(shard)).map(|(shard, to)| (*shard, *to));
    // A group that was revived from a replica that hadn't heard of a shard's departure has the shard once
    // more. Its new owner takes everything that is sent under that epoch for what it has, and the group
    // drops it.
    let revived = owned.iter().filter_map(|&(shard, epoch)| {
        let owner = owner(shard).filter(|owner| owner.group != group && owner.epoch > epoch)?;
        Some((shard, PlannedMove { to: owner.group, epoch: owner.epoch }))
    });
    planned.chain(revived).collect()
}
