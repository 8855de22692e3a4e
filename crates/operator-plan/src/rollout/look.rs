//! A live look at a resource: nothing in it comes from a cache.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::ShardedKv;
use skv_sharding::GroupId;

use super::members::{Leader, Members};
use crate::names::ServerSet;
use crate::observed::ObservedServers;

/// Everything that was observed.
#[derive(Debug)]
pub struct Look {
    /// The resource itself.
    pub resource: ShardedKv,
    /// The resource's servers.
    pub servers: BTreeMap<ServerSet, ObservedServers>,
    /// True if all pods of the shard manager are as its Deployment says, and ready.
    pub managers_rolled_out: bool,
    /// The members of each group, as its servers report them.
    pub members: BTreeMap<GroupId, Members>,
    /// The leaders, as they reported when they were asked once more.
    pub later: BTreeMap<GroupId, Leader>,
    /// The nodes of pods that are being deleted, if they are gone, or don't answer.
    pub lost_nodes: BTreeSet<String>,
}
