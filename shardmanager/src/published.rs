//! The state of the cluster that every client may read.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use skv_assignment::record::Record;
use skv_assignment::rules::Leader;
use skv_proto::v1;
use skv_sharding::{GroupId, ShardMap};

use crate::wire;

/// The published state of the cluster: the record, and the leaders.
#[derive(Debug)]
pub struct Published {
    /// The record.
    pub record: Arc<Record>,
    /// The leader that each group reported last.
    pub leaders: BTreeMap<GroupId, Leader>,
    /// The record's map.
    pub map: ShardMap,
    /// The map as it is sent, which is put together once for all who watch.
    wire: OnceLock<v1::ShardMap>,
}

impl Published {
    /// Returns the state of a record, with these leaders.
    pub fn new(record: Arc<Record>, leaders: BTreeMap<GroupId, Leader>) -> Published {
        Published { map: record.shard_map(), record, leaders, wire: OnceLock::new() }
    }

    /// Returns the map as it is sent, with the leaders, the drained groups, the pins, and the number of
    /// shards that move.
    pub fn wire_map(&self) -> &v1::ShardMap {
        self.wire.get_or_init(|| self.to_wire())
    }

    fn to_wire(&self) -> v1::ShardMap {
        let mut map = v1::ShardMap::from(&self.map);
        map.pins = self.record.pins.iter().map(|(&shard, &group)| wire::pinned((shard, group))).collect();
        map.moving = self.record.moves.len() as u32;
        for group in &mut map.groups {
            // A leader of an old incarnation may report first.
            let leader = self.leaders.get(&GroupId(group.id));
            if let Some(leader) = leader.filter(|leader| leader.incarnation.0 >= group.incarnation) {
                group.leader = leader.id.0;
                group.leader_term = leader.term;
            }
            group.drained = self.record.groups.get(&GroupId(group.id)).is_some_and(|known| known.drained);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use skv_sharding::{Incarnation, ReplicaId};

    use super::*;
    use crate::testing::sample_record;

    #[test]
    fn no_leader_of_an_older_incarnation_is_named() {
        let mut record = sample_record();
        record.groups.get_mut(&GroupId(0)).unwrap().incarnation = Incarnation(1);
        let leader = |id, incarnation| Leader { id: ReplicaId(id), incarnation, term: 12 };
        let leaders = [(GroupId(0), leader(10, Incarnation(0))), (GroupId(1), leader(11, Incarnation(1)))];
        let published = Published::new(Arc::new(record), leaders.into());
        let groups = &published.wire_map().groups;
        assert_eq!((groups[0].leader, groups[1].leader), (0, 11));
    }
}
