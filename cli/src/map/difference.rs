//! The difference between one shard map and an earlier one. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use skv_proto::v1;
use skv_sharding::{GroupId, ShardId};

use crate::shards;

/// The difference between two maps.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) revision: u64,
    pub(super) configuration: u64,
    /// True if there is a new configuration.
    #[serde(skip)]
    reconfigured: bool,
    /// Shards that another group owns now.
    moves: Vec<Moved>,
    founded: Vec<GroupId>,
    gone: Vec<GroupId>,
    /// Groups with other servers, or with other addresses.
    regrouped: Vec<Servers>,
    /// Groups that another server leads, where it is known.
    led: Vec<Led>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Moved {
    shard: ShardId,
    /// `None`: no group had it.
    source: Option<GroupId>,
    target: GroupId,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Servers {
    group: GroupId,
    servers: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Led {
    group: GroupId,
    leader: String,
}

impl Difference {
    /// Returns the changes in `new`; compared with an empty map, everything.
    pub(super) fn between(old: &v1::ShardMap, new: &v1::ShardMap) -> Difference {
        let (before, now) = (by_number(old), by_number(new));
        let both = || now.iter().filter_map(|(id, group)| Some((*id, *before.get(id)?, *group)));
        let same = |old: &v1::Group, new: &v1::Group| old.uid == new.uid;
        Difference {
            revision: new.revision,
            configuration: new.configuration,
            reconfigured: new.configuration != old.configuration,
            moves: moved(old, new),
            founded: now
                .iter()
                .filter(|(id, group)| before.get(id).is_none_or(|old| !same(old, group)))
                .map(|(id, _)| *id)
                .collect(),
            gone: before
                .iter()
                .filter(|(id, group)| now.get(id).is_none_or(|new| !same(group, new)))
                .map(|(id, _)| *id)
                .collect(),
            regrouped: both()
                .filter(|(_, old, new)| same(old, new) && members(old) != members(new))
                .map(|(group, _, new)| Servers {
                    group,
                    servers: new.replicas.iter().map(|replica| replica.server.clone()).collect(),
                })
                .collect(),
            led: both()
                .filter(|(_, old, new)| same(old, new) && old.leader != new.leader)
                .filter_map(|(group, _, new)| Some(Led { group, leader: leader(new)?.to_owned() }))
                .collect(),
        }
    }

    /// Returns true if there is nothing to show.
    pub(super) fn is_empty(&self) -> bool {
        let Difference { reconfigured, moves, founded, gone, regrouped, led, .. } = self;
        !reconfigured
            && moves.is_empty()
            && founded.is_empty()
            && gone.is_empty()
            && regrouped.is_empty()
            && led.is_empty()
    }
}

fn by_number(map: &v1::ShardMap) -> BTreeMap<GroupId, &v1::Group> {
    map.groups.iter().map(|group| (GroupId(group.id), group)).collect()
}

fn moved(old: &v1::ShardMap, new: &v1::ShardMap) -> Vec<Moved> {
    let before = skv_proto::owners(&old.ranges);
    let now = skv_proto::owners(&new.ranges).into_iter();
    let moved = now.map(|(shard, target)| Moved { shard, source: before.get(&shard).copied(), target });
    moved.filter(|moved| moved.source != Some(moved.target)).collect()
}

/// Returns the members of a group with their addresses, without its leader.
fn members(group: &v1::Group) -> Vec<(u64, &str, &str)> {
    let replicas = group.replicas.iter();
    replicas.map(|replica| (replica.id, &*replica.client_address, &*replica.peer_address)).collect()
}

fn leader(group: &v1::Group) -> Option<&str> {
    let leader = group.replicas.iter().find(|replica| group.leader != 0 && replica.id == group.leader)?;
    Some(&leader.server)
}

impl fmt::Display for Difference {
    /// `revision 41: shard 7 g0 -> g2`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.reconfigured {
            parts.push(format!("configuration {}", self.configuration));
        }
        parts.extend(self.gone.iter().map(|group| format!("{group} is gone")));
        parts.extend(self.founded.iter().map(|group| format!("{group} is new")));
        let mut moves: BTreeMap<_, Vec<ShardId>> = BTreeMap::new();
        for Moved { shard, source, target } in &self.moves {
            moves.entry((*source, *target)).or_default().push(*shard);
        }
        for ((source, target), moved) in moves {
            let source = source.map_or_else(String::new, |group| format!("{group} "));
            let shards = if moved.len() == 1 { "shard" } else { "shards" };
            parts.push(format!("{shards} {} {source}-> {target}", shards::list(moved)));
        }
        let servers = |servers: &Servers| format!("{} is on {}", servers.group, servers.servers.join(" "));
        parts.extend(self.regrouped.iter().map(servers));
        parts.extend(self.led.iter().map(|led| format!("{} is led by {}", led.group, led.leader)));
        write!(f, "revision {}: {}", self.revision, parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u32, uid: u64, replicas: &[u64], leader: u64) -> v1::Group {
        let replica = |&id: &u64| v1::Replica {
            id,
            server: format!("kv-{id}"),
            client_address: format!("kv-{id}:7000"),
            peer_address: format!("kv-{id}:7001"),
            instance: String::new(),
        };
        let replicas = replicas.iter().map(replica).collect();
        v1::Group { id, uid, replicas, leader, ..v1::Group::default() }
    }

    fn map(revision: u64, configuration: u64, owners: &[u32], groups: Vec<v1::Group>) -> v1::ShardMap {
        let range = |(first, &group)| v1::ShardRange { first, count: 1, group, epoch: revision };
        v1::ShardMap {
            revision,
            configuration,
            shards: owners.len() as u32,
            ranges: (0..).zip(owners).map(range).collect(),
            groups,
            ..v1::ShardMap::default()
        }
    }

    fn told(old: &v1::ShardMap, new: &v1::ShardMap) -> String {
        Difference::between(old, new).to_string()
    }

    #[test]
    fn shards_that_moved_are_told_by_where_from_and_where_to() {
        let groups = || vec![group(0, 1, &[1], 1), group(1, 2, &[2], 2), group(2, 3, &[3], 3)];
        let old = map(40, 3, &[0, 0, 1, 1, 0], groups());
        assert_eq!(told(&old, &map(41, 3, &[0, 0, 1, 1, 2], groups())), "revision 41: shard 4 g0 -> g2");
        assert_eq!(
            told(&old, &map(41, 4, &[1, 1, 1, 2, 1], groups())),
            "revision 41: configuration 4; shards 0-1 4 g0 -> g1; shard 3 g1 -> g2"
        );
        let json = serde_json::to_value(Difference::between(&old, &map(41, 3, &[0, 0, 1, 1, 2], groups())));
        let expected = serde_json::json!({
            "revision": 41, "configuration": 3, "moves": [{"shard": 4, "source": 0, "target": 2}],
            "founded": [], "gone": [], "regrouped": [], "led": [],
        });
        assert_eq!(json.unwrap(), expected);
    }

    #[test]
    fn groups_that_come_change_and_go_are_told() {
        let old = map(5, 1, &[0], vec![group(0, 1, &[1, 2, 3], 1), group(1, 2, &[4], 4)]);
        let new = map(6, 1, &[0], vec![group(0, 1, &[1, 2, 9], 2), group(2, 3, &[5], 0)]);
        assert_eq!(
            told(&old, &new),
            "revision 6: g1 is gone; g2 is new; g0 is on kv-1 kv-2 kv-9; g0 is led by kv-2"
        );
        let again = map(7, 1, &[0], vec![group(0, 7, &[1, 2, 9], 2), group(2, 3, &[5], 0)]);
        assert_eq!(told(&new, &again), "revision 7: g0 is gone; g0 is new", "its uid is another one");
    }

    #[test]
    fn a_revision_that_changes_nothing_to_tell_is_empty() {
        let old = map(5, 1, &[0, 0], vec![group(0, 1, &[1], 1)]);
        // Neither higher epochs under the same owner nor a leader that isn't known for a while are differences.
        let new = map(6, 1, &[0, 0], vec![group(0, 1, &[1], 0)]);
        assert!(Difference::between(&old, &new).is_empty());
        assert!(!Difference::between(&old, &map(6, 2, &[0, 0], vec![group(0, 1, &[1], 1)])).is_empty());
    }

    #[test]
    fn the_first_map_is_all_new() {
        let map = map(5, 1, &[0, 0], vec![group(0, 1, &[1], 1)]);
        assert_eq!(
            told(&v1::ShardMap::default(), &map),
            "revision 5: configuration 1; g0 is new; shards 0-1 -> g0"
        );
    }
}
