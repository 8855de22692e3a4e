//! A live look at a resource: nothing in it comes from a cache.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::ShardedKv;
use skv_sharding::GroupId;

use super::members::{Leader, Members};
use crate::names::ServerSet;
use crate::observed::ObservedServers;

/// Everything that was seen.
#[derive(Debug)]
pub struct Look {
    /// The resource itself.
    pub resource: ShardedKv,
    /// Its servers.
    pub servers: BTreeMap<ServerSet, ObservedServers>,
    /// The members of each group, as its servers say.
    pub members: BTreeMap<GroupId, Members>,
    /// The leaders, as they said when they were asked once more.
    pub later: BTreeMap<GroupId, Leader>,
    /// The nodes of pods on their way out that are gone, or don't answer.
    pub lost_nodes: BTreeSet<String>,
}
