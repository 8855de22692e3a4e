//! The pure rules of sharding: the shard of a key, and the group of a shard.
//!
//! No IO, no async, no clock and no random source: every rule decides alike on every replica, in every
//! clerk and in every test.

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
