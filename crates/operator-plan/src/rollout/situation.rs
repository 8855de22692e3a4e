//! The facts on which the decision about pods and members rests, and all that follows from them at once.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_resource::{ReplacedServer, Replacing};
use skv_sharding::{GroupId, GroupUid, ReplicaId};

use super::members::{Leader, Members};
use crate::names::{self, ServerSet, ordinal};
use crate::observed::ObservedServers;
use crate::placement;
use crate::pods::ServerPod;
use crate::resolved::Resolved;

/// The facts on which the decision rests.
#[derive(Debug, Clone)]
pub(super) struct Situation<'a> {
    /// The resource.
    pub(super) resolved: &'a Resolved,
    /// The pod that was being replaced before this look.
    pub(super) replacing: Option<&'a Replacing>,
    /// The existing servers.
    pub(super) servers: &'a BTreeMap<ServerSet, ObservedServers>,
    /// The members of each group, as its servers report them.
    pub(super) members: &'a BTreeMap<GroupId, Members>,
    /// The groups that share no shards by the newest configuration. While one of them has a problem it is
    /// left alone, and the others needn't wait for it.
    pub(super) shareless: &'a BTreeSet<GroupId>,
    /// The leaders once more, with the progress of their peers: they were asked after all of `members`.
    pub(super) later: &'a BTreeMap<GroupId, Leader>,
    /// The nodes that are gone, or don't answer, of those whose pods are being deleted.
    pub(super) lost_nodes: &'a BTreeSet<String>,
    /// The nodes that are about to be emptied.
    pub(super) cordoned: &'a BTreeSet<String>,
    /// True if the shard manager runs as the specification says.
    pub(super) managers_rolled_out: bool,
}

/// The next step, and the message about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The step that is due.
    pub step: Option<Step>,
    /// The message about the work under way; `None` if there is nothing to do.
    pub doing: Option<String>,
    /// True if the replacement that was recorded is over.
    pub replaced: bool,
    /// The groups that have fewer members than servers: their surplus servers may be removed.
    pub shrink: BTreeSet<GroupId>,
    /// The groups whose majority is gone for good.
    pub lost: Vec<GroupId>,
}

/// A pod, by name and identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// The pod's name.
    pub name: String,
    /// The pod's uid, which tells it from others of that name.
    pub uid: String,
}

/// A server whose replica is gone for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The server's pod.
    pub pod: PodRef,
    /// True if no kubelet can confirm that the pod stopped.
    pub at_once: bool,
    /// The name of the server's claim.
    pub claim: String,
    /// The claim's uid.
    pub claim_uid: String,
    /// The volume that is to be kept.
    pub keep: Option<String>,
    /// The reason.
    pub why: String,
    /// The replacements of the last hour, with this one.
    pub history: Vec<ReplacedServer>,
}

/// A step of one pod, or of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Replace a pod that works: its group, and its disruption budget, can spare it.
    Evict(PodRef),
    /// Replace a pod that doesn't come up.
    Delete(PodRef),
    /// Let go of a pod whose node can't confirm that it stopped, and whose volume was given up,
    /// or that has none: its successor is a new replica.
    ForceDelete(PodRef),
    /// Give up the volume of a server whose replica is gone for good, and let go of its pod: its successor
    /// is a new replica.
    Abandon(Abandoned),
    /// Have the leader hand the leadership over.
    HandOver {
        /// The group.
        group: GroupId,
        /// The leader, as it was seen.
        meant: v1::ReplicaIdentity,
        /// The leader's server.
        server: String,
        /// The leader's peer address.
        address: String,
        /// The voter that will lead; `None` if the leader may choose.
        to: Option<ReplicaId>,
    },
    /// Take a replica out of its group.
    Remove {
        /// The group.
        group: GroupId,
        /// The group's identity.
        uid: GroupUid,
        /// The peer address of the group's leader.
        leader_address: String,
        /// The replica.
        replica: ReplicaId,
        /// The replica's server.
        server: String,
    },
}

impl Step {
    /// Returns the pod that is replaced.
    pub fn replaces(&self) -> Option<&PodRef> {
        match self {
            Step::Evict(pod) | Step::Delete(pod) | Step::ForceDelete(pod) => Some(pod),
            Step::Abandon(abandoned) => Some(&abandoned.pod),
            Step::HandOver { .. } | Step::Remove { .. } => None,
        }
    }
}

impl Situation<'_> {
    /// Returns true if a voter has all that its leader had when that was asked first.
    pub(super) fn has_all(&self, id: GroupId, leader: &Leader, voter: ReplicaId) -> bool {
        let later = self.later.get(&id).filter(|later| later.replica == leader.replica);
        let matched = later.and_then(|later| later.matched.get(&voter));
        voter == leader.replica || matched.is_some_and(|at| *at >= leader.last)
    }

    /// Returns true if a server is ready, and in each of its groups a voter that has caught up.
    pub(super) fn is_whole(&self, server: &str) -> bool {
        let Some((set, servers)) = self.set_of(server) else { return false };
        let Some(pod) = servers.pod(server).filter(|pod| pod.is_ready()) else { return false };
        let votes = |id: GroupId| {
            let members = self.members.get(&id)?;
            let (leader, replica) = (members.leader.as_ref()?, members.hosted.get(server)?);
            let is_voter = members.voters.get(replica).is_some_and(|on| on == server);
            Some(is_voter && self.has_all(id, leader, *replica))
        };
        let mut hosted = placement::hosted_by(&self.resolved.spec, set, pod.ordinal).into_iter();
        hosted.all(|id| votes(id) == Some(true))
    }

    /// Returns the existing groups.
    pub(super) fn groups(&self) -> BTreeSet<GroupId> {
        placement::groups(&self.resolved.spec, self.servers.keys())
    }

    /// Returns the wanted number of servers where a group has its own.
    pub(super) fn wanted_servers(&self, id: GroupId) -> u32 {
        placement::servers(&self.resolved.spec, placement::set_of(&self.resolved.spec, id))
    }

    pub(super) fn staying<'b>(
        &self,
        set: ServerSet,
        servers: &'b ObservedServers,
    ) -> impl Iterator<Item = &'b ServerPod> {
        let wanted = placement::servers(&self.resolved.spec, set);
        servers.pods.values().filter(move |pod| pod.ordinal < wanted)
    }

    /// Returns true if a pod that is made now is up to date.
    pub(super) fn makes_new_pods(&self, servers: &ObservedServers) -> bool {
        servers
            .set
            .as_ref()
            .is_some_and(|set| set.is_current && set.restart_hash == self.resolved.restart_hash)
    }

    pub(super) fn is_outdated(&self, pod: &ServerPod) -> bool {
        pod.restart_hash != self.resolved.restart_hash
    }

    /// Returns true if a server must leave its group. No server leaves a ring.
    pub(super) fn is_surplus(&self, server: &str) -> bool {
        self.resolved.spec.ring().is_none()
            && ordinal(server).is_some_and(|ordinal| ordinal >= self.resolved.spec.replicas)
    }

    pub(super) fn set_of(&self, server: &str) -> Option<(ServerSet, &ObservedServers)> {
        let name = names::set_name(server)?;
        let (set, servers) =
            self.servers.iter().find(|(set, _)| self.resolved.names.servers_of(**set) == name)?;
        Some((*set, servers))
    }

    pub(super) fn pod(&self, server: &str) -> Option<&ServerPod> {
        self.servers.values().find_map(|servers| servers.pod(server))
    }

    pub(super) fn address(&self, server: &str) -> Option<String> {
        self.pod(server)?.peer_address.clone()
    }
}

impl From<&ServerPod> for PodRef {
    fn from(pod: &ServerPod) -> PodRef {
        PodRef { name: pod.name.clone(), uid: pod.uid.clone() }
    }
}
