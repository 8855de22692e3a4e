//! A live look at a resource: nothing in it comes from a cache.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use skv_resource::{ShardedKv, ShardedKvSpec};
use skv_sharding::GroupId;

use super::cause::Cause;
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
    /// The number of replicas of each group that the shard manager wants, by its Deployment.
    pub wanted_replicas: Option<u32>,
    /// The members of each group, as its servers report them.
    pub members: BTreeMap<GroupId, Members>,
    /// The leaders, as they reported when they were asked once more.
    pub later: BTreeMap<GroupId, Leader>,
    /// The nodes of pods that are being deleted, if they are gone, or don't answer.
    pub lost_nodes: BTreeSet<String>,
    /// The servers whose replica is gone for good, each with the reason.
    pub causes: BTreeMap<String, Cause>,
    /// The time of the look.
    pub now: Timestamp,
}

impl Look {
    /// Returns true if the shard manager runs as the specification says. A Deployment that is rolled out may be one
    /// from before the specification wanted another number of replicas: then servers still join that are surplus.
    pub(super) fn managers_obey(&self, spec: &ShardedKvSpec) -> bool {
        self.managers_rolled_out && self.wanted_replicas == Some(spec.replicas)
    }
}
