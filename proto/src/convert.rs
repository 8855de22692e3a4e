//! Conversions between the wire types and those of the sharding rules.

use std::collections::BTreeMap;

use skv_sharding::{
    ClusterId, Configuration, Epoch, Group, GroupId, GroupUid, Hash, Incarnation, MapError, MapRevision,
    Owner, OwnerRange, Replica, ReplicaId, ShardId, ShardMap,
};

use crate::{ShardOwner, v1};

/// A message that is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// An enum value of a newer version, or none.
    #[error("unknown hash {0}")]
    UnknownHash(i32),
    /// The ranges of shards don't fit together.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl From<Hash> for v1::Hash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Fnv1 => v1::Hash::Fnv1,
            Hash::Fnv1a => v1::Hash::Fnv1a,
            Hash::Integer => v1::Hash::Integer,
            Hash::IntegerOrFnv1 => v1::Hash::IntegerOrFnv1,
        }
    }
}

impl TryFrom<v1::Hash> for Hash {
    type Error = ConvertError;
    fn try_from(hash: v1::Hash) -> Result<Self, ConvertError> {
        match hash {
            v1::Hash::Fnv1 => Ok(Hash::Fnv1),
            v1::Hash::Fnv1a => Ok(Hash::Fnv1a),
            v1::Hash::Integer => Ok(Hash::Integer),
            v1::Hash::IntegerOrFnv1 => Ok(Hash::IntegerOrFnv1),
            v1::Hash::Unspecified => Err(ConvertError::UnknownHash(hash as i32)),
        }
    }
}

impl From<Replica> for v1::Replica {
    fn from(r: Replica) -> Self {
        v1::Replica {
            id: r.id.0,
            server: r.server,
            client_address: r.client_address,
            peer_address: r.peer_address,
            instance: r.instance,
        }
    }
}

impl From<v1::Replica> for Replica {
    fn from(r: v1::Replica) -> Self {
        Replica {
            id: ReplicaId(r.id),
            server: r.server,
            client_address: r.client_address,
            peer_address: r.peer_address,
            instance: r.instance,
        }
    }
}

impl From<ShardOwner> for v1::ShardOwner {
    fn from(o: ShardOwner) -> Self {
        v1::ShardOwner {
            shard: o.shard.0,
            group: o.group.0,
            group_uid: o.uid.0,
            epoch: o.epoch.0,
            replicas: o.replicas.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::ShardOwner> for ShardOwner {
    fn from(o: v1::ShardOwner) -> Self {
        ShardOwner {
            shard: ShardId(o.shard),
            group: GroupId(o.group),
            uid: GroupUid(o.group_uid),
            epoch: Epoch(o.epoch),
            replicas: o.replicas.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<OwnerRange> for v1::ShardRange {
    fn from(range: OwnerRange) -> Self {
        v1::ShardRange {
            first: range.first,
            count: range.count,
            group: range.owner.group.0,
            epoch: range.owner.epoch.0,
        }
    }
}

impl From<&v1::ShardRange> for OwnerRange {
    fn from(r: &v1::ShardRange) -> Self {
        let owner = Owner { group: GroupId(r.group), epoch: Epoch(r.epoch) };
        OwnerRange { first: r.first, count: r.count, owner }
    }
}

/// Returns the group of each shard.
pub fn owners(ranges: &[v1::ShardRange]) -> BTreeMap<ShardId, GroupId> {
    let of_range = |range: &v1::ShardRange| {
        let group = GroupId(range.group);
        (range.first..range.first.saturating_add(range.count)).map(move |shard| (ShardId(shard), group))
    };
    ranges.iter().flat_map(of_range).collect()
}

impl From<&ShardMap> for v1::ShardMap {
    fn from(map: &ShardMap) -> Self {
        v1::ShardMap {
            cluster_id: map.cluster.0,
            revision: map.revision.0,
            configuration: map.configuration,
            shards: map.shards(),
            hash: v1::Hash::from(map.hash) as i32,
            groups: map
                .groups
                .iter()
                .map(|(id, group)| v1::Group {
                    id: id.0,
                    uid: group.uid.0,
                    incarnation: group.incarnation.0,
                    replicas: group.replicas.iter().cloned().map(Into::into).collect(),
                    leader: 0,
                    leader_term: 0,
                    drained: false,
                    committed: 0,
                    disk_full: false,
                    memory_full: false,
                })
                .collect(),
            ranges: map.ranges().into_iter().map(Into::into).collect(),
            pins: Vec::new(),
            moving: 0,
        }
    }
}

impl TryFrom<&v1::ShardMap> for ShardMap {
    type Error = ConvertError;
    fn try_from(wire: &v1::ShardMap) -> Result<Self, ConvertError> {
        let map = ShardMap {
            cluster: ClusterId(wire.cluster_id),
            revision: MapRevision(wire.revision),
            configuration: wire.configuration,
            hash: wire.hash().try_into()?,
            owners: ShardMap::owners_from(wire.ranges.iter().map(Into::into), wire.shards)?,
            groups: wire
                .groups
                .iter()
                .map(|g| {
                    let group = Group {
                        uid: GroupUid(g.uid),
                        incarnation: Incarnation(g.incarnation),
                        replicas: g.replicas.iter().cloned().map(Into::into).collect(),
                    };
                    (GroupId(g.id), group)
                })
                .collect(),
        };
        map.check()?;
        Ok(map)
    }
}

impl From<&Configuration> for v1::Configuration {
    fn from(c: &Configuration) -> Self {
        let owners = c.owners.iter().map(|&group| Owner { group, epoch: Epoch(0) }).collect();
        let map = ShardMap {
            cluster: ClusterId(0),
            revision: MapRevision(0),
            configuration: c.number,
            hash: Hash::Fnv1,
            owners,
            groups: BTreeMap::new(),
        };
        v1::Configuration {
            number: c.number,
            groups: c.groups.iter().map(|g| g.0).collect(),
            ranges: map.ranges().into_iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_survives_the_wire() {
        let group = Group {
            uid: GroupUid(9),
            incarnation: Incarnation(1),
            replicas: vec![Replica {
                id: ReplicaId(4),
                server: "kv-g0-0".into(),
                client_address: "127.0.0.1:1".into(),
                peer_address: "127.0.0.1:2".into(),
                instance: "i".into(),
            }],
        };
        let map = ShardMap {
            cluster: ClusterId(1),
            revision: MapRevision(2),
            configuration: 3,
            hash: Hash::Integer,
            owners: vec![Owner { group: GroupId(0), epoch: Epoch(1) }; 5],
            groups: BTreeMap::from([(GroupId(0), group)]),
        };
        assert_eq!(ShardMap::try_from(&v1::ShardMap::from(&map)), Ok(map));
    }

    #[test]
    fn every_shard_of_a_range_has_its_group() {
        let range = |first, count, group| v1::ShardRange { first, count, group, epoch: 0 };
        let owners = owners(&[range(0, 2, 1), range(2, 1, 0)]);
        let expected = [(0, 1), (1, 1), (2, 0)].map(|(shard, group)| (ShardId(shard), GroupId(group)));
        assert_eq!(owners, BTreeMap::from(expected));
    }

    #[test]
    fn a_map_of_another_version_is_refused() {
        assert_eq!(ShardMap::try_from(&v1::ShardMap::default()), Err(ConvertError::UnknownHash(0)));
    }
}
