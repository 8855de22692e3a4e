//! The pure rules of sharding: the shard of a key, and the group of a shard.
//!
//! No IO, no async, no clock and no random source: every rule decides alike on every replica, in every
//! clerk and in every test.
//!
//! - `hash`: the shard of a key; `map`: the owner of each shard; `shard_set`: shards as a text
//! - `plan`: the planner of configurations; `wanted`: the groups that there should be; `ring`: replicas on servers
//! - `ids`: names and numbers; `lineage`: the former lives of a group; `limits`: those of requests and sessions

mod hash;
mod ids;
mod limits;
mod lineage;
mod map;
mod plan;
mod ring;
mod shard_set;
mod wanted;

pub use hash::{Hash, KeyError, ParseHashError, fnv1, fnv1a};
pub use ids::{
    COUNT_LIMIT, ClusterId, Epoch, GroupId, GroupUid, Incarnation, MapRevision, ParseIdError, ReplicaId,
    Revision, ShardId,
};
pub use limits::{LEAST_MEMORY_BYTES, Limits};
pub use lineage::Lineage;
pub use map::{Configuration, Group, MapError, Owner, OwnerRange, Replica, ShardMap, check_count};
pub use plan::{Layout, ParsePolicyError, PlanError, Policy, plan};
pub use ring::{Ring, RingError};
pub use shard_set::{MAX_SHARDS, ParseShardSetError, ShardSet};
pub use wanted::wanted_groups;
