//! The shard map: the present owner of each shard, and the addresses of its group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    COUNT_LIMIT, ClusterId, Epoch, GroupId, GroupUid, Hash, Incarnation, KeyError, MAX_SHARDS, MapRevision,
    ReplicaId, ShardId,
};

/// A member of a group, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The replica's identity.
    pub id: ReplicaId,
    /// The name of the server (pod) that holds it.
    pub server: String,
    /// The address of the client listener, HOST:PORT.
    pub client_address: String,
    /// The address of the peer listener, HOST:PORT.
    pub peer_address: String,
    /// The pod's uid, or a text that the server chose at random when it started.
    pub instance: String,
}

/// A Raft replica set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The group's identity.
    pub uid: GroupUid,
    /// The group's incarnation: raised when it was revived without its majority.
    pub incarnation: Incarnation,
    /// The group's members, by the name of their server.
    pub replicas: Vec<Replica>,
}

/// The owner of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The group that serves the shard.
    pub group: GroupId,
    /// The epoch with which the shard came to the group.
    pub epoch: Epoch,
}

/// The present state on the way to the newest configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMap {
    /// The cluster that it describes.
    pub cluster: ClusterId,
    /// The number of changes of the map.
    pub revision: MapRevision,
    /// The newest configuration's number.
    pub configuration: u64,
    /// The hash that maps keys to shards.
    pub hash: Hash,
    /// The owner of each shard. Empty before the first configuration.
    pub owners: Vec<Owner>,
    /// The existing groups.
    pub groups: BTreeMap<GroupId, Group>,
}

/// A complete assignment of shards to groups. Number 0 is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The configuration's number; counts from 0.
    pub number: u64,
    /// The groups that share the shards.
    pub groups: Vec<GroupId>,
    /// The group of each shard.
    pub owners: Vec<GroupId>,
}

/// The reason for which a map is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// A range of shards overlaps another, or leaves a gap before it.
    #[error("the range of shards from {first} doesn't follow the one before, which ends at {end}")]
    Gap {
        /// The first shard of the range.
        first: u32,
        /// The end of the range before.
        end: u32,
    },
    /// The ranges don't cover the shards.
    #[error("{covered} of {shards} shards have an owner")]
    Incomplete {
        /// Shards with an owner.
        covered: u32,
        /// All shards.
        shards: u32,
    },
    /// There are more shards than a cluster may have.
    #[error("{0} shards are more than the {MAX_SHARDS} that a cluster may have")]
    TooMany(u32),
    /// A number that is counted up is near the end of all numbers.
    #[error("the {what} {number} is more than anything counts to")]
    Count {
        /// The number that is counted up.
        what: &'static str,
        /// Its value.
        number: u64,
    },
    /// A shard's owner isn't among the groups.
    #[error("shard {shard} belongs to {group}, which the map doesn't know")]
    UnknownGroup {
        /// The shard.
        shard: ShardId,
        /// The shard's owner.
        group: GroupId,
    },
}

/// Consecutive shards with the same owner, as they are stored and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRange {
    /// The first shard.
    pub first: u32,
    /// The number of shards.
    pub count: u32,
    /// Their owner.
    pub owner: Owner,
}

impl ShardMap {
    /// Returns the number of shards.
    pub fn shards(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Returns the shard of a key and its owner; `None` before the first configuration.
    pub fn locate(&self, key: &[u8]) -> Result<Option<(ShardId, Owner)>, KeyError> {
        if self.owners.is_empty() {
            return Ok(None);
        }
        let shard = self.hash.shard(key, self.shards())?;
        Ok(Some((shard, self.owners[shard.0 as usize])))
    }

    /// Returns the shards of a group, in order.
    pub fn shards_of(&self, group: GroupId) -> impl Iterator<Item = (ShardId, Epoch)> + '_ {
        (0..)
            .zip(&self.owners)
            .filter(move |(_, owner)| owner.group == group)
            .map(|(i, owner)| (ShardId(i), owner.epoch))
    }

    /// Returns the owners as ranges.
    pub fn ranges(&self) -> Vec<OwnerRange> {
        let mut ranges: Vec<OwnerRange> = Vec::new();
        for (shard, &owner) in (0..).zip(&self.owners) {
            match ranges.last_mut() {
                Some(last) if last.owner == owner => last.count += 1,
                _ => ranges.push(OwnerRange { first: shard, count: 1, owner }),
            }
        }
        ranges
    }

    /// Returns the owners that ranges describe; they must cover `shards` without gap or overlap.
    pub fn owners_from(
        ranges: impl IntoIterator<Item = OwnerRange>,
        shards: u32,
    ) -> Result<Vec<Owner>, MapError> {
        // A range of a few bytes may have any number of shards.
        if shards > MAX_SHARDS {
            return Err(MapError::TooMany(shards));
        }
        let mut owners = Vec::new();
        for range in ranges {
            let end = owners.len() as u32;
            if range.first != end {
                return Err(MapError::Gap { first: range.first, end });
            }
            if range.count > shards - end {
                return Err(MapError::Incomplete { covered: end.saturating_add(range.count), shards });
            }
            owners.resize((end + range.count) as usize, range.owner);
        }
        let covered = owners.len() as u32;
        if covered != shards {
            return Err(MapError::Incomplete { covered, shards });
        }
        Ok(owners)
    }

    /// Checks that every owner is a known group, and that all that is counted can be counted on.
    pub fn check(&self) -> Result<(), MapError> {
        check_count("map revision", self.revision.0)?;
        check_count("configuration", self.configuration)?;
        for (shard, owner) in (0..).zip(&self.owners) {
            check_count("epoch", owner.epoch.0)?;
            if !self.groups.contains_key(&owner.group) {
                return Err(MapError::UnknownGroup { shard: ShardId(shard), group: owner.group });
            }
        }
        Ok(())
    }
}

/// Checks a number that is counted up: nothing may follow the last number of all.
pub fn check_count(what: &'static str, number: u64) -> Result<(), MapError> {
    if number < COUNT_LIMIT { Ok(()) } else { Err(MapError::Count { what, number }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(owners: Vec<Owner>) -> ShardMap {
        ShardMap {
            cluster: ClusterId(1),
            revision: MapRevision(1),
            configuration: 1,
            hash: Hash::Fnv1,
            owners,
            groups: BTreeMap::new(),
        }
    }

    proptest! {
        #[test]
        fn ranges_say_the_same_as_owners(owners in proptest::collection::vec((0u32..3, 0u64..3), 0..200)) {
            let owners: Vec<Owner> =
                owners.into_iter().map(|(g, e)| Owner { group: GroupId(g), epoch: Epoch(e) }).collect();
            let map = map(owners.clone());
            prop_assert_eq!(ShardMap::owners_from(map.ranges(), owners.len() as u32), Ok(owners));
        }
    }

    #[test]
    fn broken_ranges_are_refused() {
        let owner = Owner { group: GroupId(0), epoch: Epoch(1) };
        let range = |first, count| OwnerRange { first, count, owner };
        assert_eq!(ShardMap::owners_from([range(1, 1)], 2), Err(MapError::Gap { first: 1, end: 0 }));
        assert_eq!(
            ShardMap::owners_from([range(0, 2), range(1, 1)], 3),
            Err(MapError::Gap { first: 1, end: 2 })
        );
        assert_eq!(
            ShardMap::owners_from([range(0, 2)], 3),
            Err(MapError::Incomplete { covered: 2, shards: 3 })
        );
        assert_eq!(
            ShardMap::owners_from([range(0, u32::MAX)], 3),
            Err(MapError::Incomplete { covered: u32::MAX, shards: 3 })
        );
        assert!(map(vec![owner]).check().is_err());
    }

    #[test]
    fn a_range_of_a_few_bytes_takes_no_memory_for_billions_of_shards() {
        let owner = Owner { group: GroupId(0), epoch: Epoch(1) };
        let all = |count| ShardMap::owners_from([OwnerRange { first: 0, count, owner }], count);
        assert_eq!(all(MAX_SHARDS + 1), Err(MapError::TooMany(MAX_SHARDS + 1)));
        assert_eq!(all(MAX_SHARDS).unwrap().len(), MAX_SHARDS as usize);
    }

    #[test]
    fn nothing_counts_up_to_the_end() {
        let end = |what| MapError::Count { what, number: u64::MAX };
        let revision = ShardMap { revision: MapRevision(u64::MAX), ..map(Vec::new()) };
        assert_eq!(revision.check(), Err(end("map revision")));
        let configuration = ShardMap { configuration: u64::MAX, ..map(Vec::new()) };
        assert_eq!(configuration.check(), Err(end("configuration")));
        let epoch = map(vec![Owner { group: GroupId(0), epoch: Epoch(u64::MAX) }]);
        assert_eq!(epoch.check(), Err(end("epoch")));
    }

    #[test]
    fn an_empty_map_locates_nothing() {
        assert_eq!(map(Vec::new()).locate(b"k"), Ok(None));
    }
}
