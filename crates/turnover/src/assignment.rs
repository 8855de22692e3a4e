//! The part of a shard manager's record by which groups come and go.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid};

/// The present shard map and the newest configuration, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The groups that share the shards by the newest configuration.
    pub sharing: BTreeSet<GroupId>,
    /// The groups that people have drained: they stay, without shards.
    pub drained: BTreeSet<GroupId>,
    /// The groups that are founded.
    pub founded: BTreeMap<GroupId, GroupUid>,
    /// The number of shards that each group owns.
    pub shards: BTreeMap<GroupId, u32>,
    /// The number of shards that aren't where the newest configuration has them.
    pub elsewhere: u32,
    /// The number of shards that the shard manager counts as moving: also those that may leave
    /// again, since a move that was taken back may have been too far.
    pub unsettled: u32,
}

impl Assignment {
    /// Takes the assignment from a shard manager's answers: its map, and its newest configuration.
    pub fn of(map: &v1::ShardMap, newest: &v1::Configuration) -> Assignment {
        let mut shards = BTreeMap::new();
        for range in &map.ranges {
            *shards.entry(GroupId(range.group)).or_default() += range.count;
        }
        let planned = skv_proto::owners(&newest.ranges);
        let current = skv_proto::owners(&map.ranges);
        let all: BTreeSet<_> = planned.keys().chain(current.keys()).collect();
        let elsewhere = all.into_iter().filter(|shard| planned.get(shard) != current.get(shard)).count();
        let drained = map.groups.iter().filter(|group| group.drained);
        Assignment {
            sharing: newest.groups.iter().copied().map(GroupId).collect(),
            drained: drained.map(|group| GroupId(group.id)).collect(),
            founded: map.groups.iter().map(|group| (GroupId(group.id), GroupUid(group.uid))).collect(),
            shards,
            elsewhere: elsewhere as u32,
            unsettled: map.moving,
        }
    }

    /// Returns the number of shards that a group owns.
    pub fn shards_of(&self, group: GroupId) -> u32 {
        self.shards.get(&group).copied().unwrap_or(0)
    }

    /// Returns the number of shards on their way. The configuration may be newer than the map, and a shard
    /// that stays after all may still leave.
    pub fn moving(&self) -> u32 {
        self.unsettled.max(self.elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(groups: &[u32]) -> Vec<v1::ShardRange> {
        let range = |(first, group): (u32, &u32)| v1::ShardRange { first, count: 1, group: *group, epoch: 1 };
        (0..).zip(groups).map(range).collect()
    }

    #[test]
    fn shards_move_until_they_are_where_the_configuration_wants_them() {
        let mut map = v1::ShardMap { ranges: ranges(&[0, 0, 1, 1]), ..v1::ShardMap::default() };
        let mut newest = v1::Configuration { ranges: ranges(&[0, 1, 1, 2]), ..v1::Configuration::default() };
        let assignment = Assignment::of(&map, &newest);
        assert_eq!((assignment.moving(), assignment.shards_of(GroupId(0))), (2, 2));
        newest.ranges = ranges(&[0, 0, 1, 1]);
        assert_eq!(Assignment::of(&map, &newest).moving(), 0);
        map.moving = 1;
        let assignment = Assignment::of(&map, &newest);
        assert_eq!((assignment.moving(), assignment.elsewhere), (1, 0), "one may still go");
    }

    #[test]
    fn a_shard_that_has_no_owner_yet_is_not_where_it_is_wanted() {
        let map = v1::ShardMap { ranges: ranges(&[0]), ..v1::ShardMap::default() };
        let newest = v1::Configuration { ranges: ranges(&[0, 0]), ..v1::Configuration::default() };
        assert_eq!(Assignment::of(&map, &newest).elsewhere, 1);
    }
}
