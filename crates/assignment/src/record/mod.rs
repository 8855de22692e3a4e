//! The memory of the shard manager: one record, written whole by compare-and-swap.
//!
//! No record exists before the first configuration: until then nothing was given out, so there is nothing
//! to remember. Leaders and the times of registrations are no part of it.

mod history;
mod owners;
mod requests;
mod retired;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
pub use skv_sharding::Limits;
use skv_sharding::{
    ClusterId, Epoch, Group, GroupId, GroupUid, Hash, Incarnation, MapError, MapRevision, Owner, Policy,
    Replica, ReplicaId, ShardId, ShardMap, ShardSet, check_count,
};

pub use history::History;
pub use requests::Requests;
pub use retired::{RetiredGroup, RetiredGroups};

/// Everything durable about one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The cluster that the record describes.
    pub cluster: ClusterId,
    /// The map revision: counts the changes of this record. Plans are given under it.
    pub revision: MapRevision,
    /// The hash that maps keys to shards.
    pub hash: Hash,
    /// The limits that new groups must agree on.
    pub limits: Limits,
    /// The groups that exist.
    pub groups: BTreeMap<GroupId, GroupRecord>,
    /// The owner of each shard.
    #[serde(with = "owners")]
    pub owners: Vec<Owner>,
    /// All configurations.
    pub history: History,
    /// The rule by which shards are spread.
    #[serde(default)]
    pub policy: Policy,
    /// Shards that people want in a certain group.
    #[serde(default)]
    pub pins: BTreeMap<ShardId, GroupId>,
    /// The shards that aren't yet where the newest configuration has them, and those that are, and
    /// may still leave by a move that was taken back.
    #[serde(default)]
    pub moves: BTreeMap<ShardId, PlannedMove>,
    /// The highest epoch that was ever given to a shard.
    #[serde(default)]
    pub epoch: Epoch,
    /// The last changes that were asked for.
    #[serde(default)]
    pub requests: Requests,
    /// The last groups that were retired.
    #[serde(default)]
    pub retired: RetiredGroups,
}

/// The planned move of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// The group that gets it.
    pub to: GroupId,
    /// The shard's epoch there.
    pub epoch: Epoch,
}

/// A group that was founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The group's identity.
    pub uid: GroupUid,
    /// The group's incarnation, as its leader last confirmed it.
    pub incarnation: Incarnation,
    /// The members, as the group's leader last confirmed them, with the addresses that they registered.
    pub members: Vec<Replica>,
    /// Replicas that wait to be admitted; never members, one per server at most.
    pub candidates: Vec<Replica>,
    /// The order by which the group was founded; `None` if the map was rebuilt since: nobody founds the
    /// group again then.
    pub bootstrap: Option<Bootstrap>,
    /// True if the group was asked to share the shards at some time.
    #[serde(default)]
    pub joined: bool,
    /// True if the group was asked to give its shards away, and not to join again since.
    #[serde(default)]
    pub drained: bool,
}

/// The first membership and the first shards of a group: written once, given to every
/// first member alike (invariant 7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// All first members.
    pub members: Vec<Replica>,
    /// The first shards.
    pub shards: ShardSet,
    /// The epoch of all of them.
    pub epoch: Epoch,
}

impl Record {
    /// Returns the map that clerks and servers get.
    pub fn shard_map(&self) -> ShardMap {
        ShardMap {
            cluster: self.cluster,
            revision: self.revision,
            configuration: self.history.newest_number(),
            hash: self.hash,
            owners: self.owners.clone(),
            groups: self
                .groups
                .iter()
                .map(|(&id, g)| {
                    (id, Group { uid: g.uid, incarnation: g.incarnation, replicas: g.members.clone() })
                })
                .collect(),
        }
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Checks the invariants that the types can't express.
    pub fn check(&self) -> Result<(), MapError> {
        // Before the map is made of it, which counts the configurations.
        self.history.check()?;
        check_count("epoch", self.epoch.0)?;
        for planned in self.moves.values() {
            check_count("epoch of a move", planned.epoch.0)?;
        }
        for (&shard, &PlannedMove { to: group, .. }) in &self.moves {
            if !self.groups.contains_key(&group) {
                return Err(MapError::UnknownGroup { shard, group });
            }
        }
        self.shard_map().check()
    }
}

impl GroupRecord {
    /// Returns a group that is founded now, by these members.
    pub fn founded(uid: GroupUid, members: Vec<Replica>, shards: ShardSet, epoch: Epoch) -> Self {
        GroupRecord {
            uid,
            incarnation: Incarnation(0),
            members: members.clone(),
            candidates: Vec::new(),
            bootstrap: Some(Bootstrap { members, shards, epoch }),
            joined: false,
            drained: false,
        }
    }

    /// Returns true if the group can't have data of any shard: it got none when it was founded, and was
    /// never asked to take one.
    pub fn is_fresh(&self) -> bool {
        !self.joined && self.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.shards.is_empty())
    }

    /// Returns the member with this id.
    pub fn member(&self, id: ReplicaId) -> Option<&Replica> {
        self.members.iter().find(|m| m.id == id)
    }

    /// Returns the founding order for this replica, if it is one of the first members and still a member.
    pub fn bootstrap_for(&self, id: ReplicaId) -> Option<&Bootstrap> {
        self.member(id)?;
        self.bootstrap.as_ref().filter(|b| b.members.iter().any(|m| m.id == id))
    }

    /// Returns true if a member or candidate lives, or lived, on this server.
    pub fn knows_server(&self, server: &str) -> bool {
        self.servers().any(|s| s == server)
    }

    /// Returns the servers of members and candidates; some may come twice.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.members.iter().chain(&self.candidates).map(|r| r.server.as_str())
    }
}
