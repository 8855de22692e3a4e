//! Groups that come and go, each with servers of its own: the steps of `skv-turnover`, and those of
//! Kubernetes, for the pods, claims and StatefulSets of a group that has ended.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::Retention;
use skv_sharding::{GroupId, GroupUid};
use skv_turnover::{Assignment, Group, decide};

use super::members::Members;
use super::situation::PodRef;
use crate::claims::Binding;
use crate::names::ServerSet;
use crate::observed::{ObservedServers, ObservedSet};
use crate::resolved::Resolved;

/// Everything on which the decision rests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roster<'a> {
    /// The resource.
    pub(super) resolved: &'a Resolved,
    /// The groups that have servers, and those that the shard manager knows.
    pub(super) groups: &'a BTreeMap<GroupId, &'a ObservedServers>,
    /// The members of each group, as its servers report them.
    pub(super) members: &'a BTreeMap<GroupId, Members>,
    /// The assignment of shards; `None` if the shard manager can't be asked.
    pub(super) assignment: Option<&'a Assignment>,
    /// The nodes that are gone, or don't answer, of those whose pods are being deleted.
    pub(super) lost_nodes: &'a BTreeSet<String>,
}

/// The next steps, and the messages about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turnover {
    /// The groups that the resource should have.
    pub wanted: BTreeSet<GroupId>,
    /// The steps that are due. None of them takes data from a group that has some.
    pub steps: Vec<GroupStep>,
    /// The messages about the work under way, group by group.
    pub doing: Vec<String>,
    /// The groups that have ended: their servers stop.
    pub ended: BTreeSet<GroupId>,
}

/// A step of a whole group, or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupStep {
    /// Have groups share the shards.
    Join(Vec<GroupId>),
    /// Have groups give their shards to the others.
    Leave(Vec<GroupId>),
    /// Have a group that has nothing end: from then on it takes nothing.
    Retire {
        /// The group.
        group: GroupId,
        /// The group's identity.
        uid: GroupUid,
        /// The peer address of the group's leader.
        leader_address: String,
    },
    /// Let go of a pod of a group that has ended, whose node can't confirm that it stopped.
    LetGo {
        /// The group.
        group: GroupId,
        /// The pod.
        pod: PodRef,
    },
    /// Remove the owners of claims that must be kept.
    Disown {
        /// The group.
        group: GroupId,
        /// The names of the group's claims.
        claims: Vec<String>,
    },
    /// Delete the Service and the StatefulSet of a group that has ended.
    Delete {
        /// The group.
        group: GroupId,
        /// The group's StatefulSet.
        set: ObservedSet,
    },
}

/// Returns true if the cached view, or the shard manager, gives reason to look at all.
pub(super) fn needs_look(
    resolved: &Resolved,
    groups: &BTreeMap<GroupId, &ObservedServers>,
    assignment: Option<&Assignment>,
) -> bool {
    let wanted = &resolved.wanted;
    let shared_by_others =
        |assignment: &Assignment| !assignment.sharing.iter().eq(wanted.difference(&assignment.drained));
    groups.iter().any(|(id, group)| !wanted.contains(id) || group.retired())
        || assignment.is_some_and(shared_by_others)
}

impl Roster<'_> {
    /// Decides on the next steps.
    pub(super) fn turnover(&self) -> Turnover {
        let facts = self.groups.iter().map(|(id, group)| (*id, self.facts(*id, group))).collect();
        let due = decide(self.resolved.spec.groups, &facts, self.assignment);
        let mut turnover =
            Turnover { wanted: due.wanted, ended: due.ended, doing: due.notes, steps: Vec::new() };
        for step in due.steps {
            match self.addressed(step) {
                Ok(step) => turnover.steps.push(step),
                Err(why) => turnover.doing.push(why),
            }
        }
        // A group that is begun without the shard manager can't be judged by it.
        for (id, group) in self.groups.iter().filter(|_| self.assignment.is_some()) {
            let Some(set) = group.set.as_ref().filter(|set| set.retired) else { continue };
            let (step, doing) = self.clear_away(*id, group, set);
            turnover.steps.extend(step);
            turnover.doing.push(doing);
        }
        turnover
    }

    /// Returns the facts about a group.
    fn facts(&self, id: GroupId, group: &ObservedServers) -> Group {
        let members = self.members.get(&id).cloned().unwrap_or_default();
        Group {
            report: members.report(),
            servers: group.state(),
            unproven: self.unproven(id, group, &members),
        }
    }

    /// Returns the reason why some server may have data: all may but those that wait for a group, and
    /// those that never had a node or volume.
    fn unproven(&self, id: GroupId, group: &ObservedServers, members: &Members) -> Option<String> {
        let ordinals: BTreeSet<u32> = (0..group.replicas()).chain(group.pods.keys().copied()).collect();
        let server = |ordinal| self.resolved.names.server(ServerSet::Group(id), ordinal);
        let unknown = ordinals.into_iter().find(|ordinal| {
            // A server that never had a node or a volume can't have data.
            let pod = group.pods.get(ordinal);
            let has_place = pod.is_some_and(|pod| pod.node.is_some())
                || group.claim(&server(*ordinal)).is_some_and(|claim| claim.binding == Binding::Bound);
            has_place && !members.waiting.contains(&server(*ordinal))
        })?;
        Some(format!("{} doesn't say that it has nothing", server(unknown)))
    }

    /// Returns the step with the address at which it is taken; else the reason why it can't be taken yet.
    fn addressed(&self, step: skv_turnover::Step) -> Result<GroupStep, String> {
        match step {
            skv_turnover::Step::Join(groups) => Ok(GroupStep::Join(groups)),
            skv_turnover::Step::Leave(groups) => Ok(GroupStep::Leave(groups)),
            skv_turnover::Step::Retire { group, uid, server } => {
                let pod = self.groups.get(&group).and_then(|servers| servers.pod(&server));
                let leader_address = pod.and_then(|pod| pod.peer_address.clone());
                let leader_address = leader_address
                    .ok_or_else(|| format!("{group} isn't retired yet: {server} has no address"))?;
                Ok(GroupStep::Retire { group, uid, leader_address })
            }
        }
    }

    /// Removes the objects of a group whose servers were ordered to stop.
    fn clear_away(
        &self,
        id: GroupId,
        group: &ObservedServers,
        set: &ObservedSet,
    ) -> (Option<GroupStep>, String) {
        if let Some(pod) = group.pods.values().find(|pod| pod.is_lost(self.lost_nodes)) {
            let doing = format!("{} is let go: its node is lost", pod.name);
            return (Some(GroupStep::LetGo { group: id, pod: PodRef::from(pod) }), doing);
        }
        if !group.pods.is_empty() || set.replicas > 0 || !set.is_current {
            return (None, format!("{id} is no more: waiting for its servers to stop"));
        }
        if set.leaving {
            return (None, format!("{id} is no more: waiting for its StatefulSet to go"));
        }
        let owned = group.claims.iter().filter(|claim| claim.owned && !claim.leaving);
        let claims: Vec<String> = owned.map(|claim| claim.name.clone()).collect();
        if self.resolved.spec.storage.when_scaled == Retention::Retain && !claims.is_empty() {
            let doing = format!("{id} is no more: its volumes are kept");
            return (Some(GroupStep::Disown { group: id, claims }), doing);
        }
        let step = GroupStep::Delete { group: id, set: set.clone() };
        (Some(step), format!("{id} is no more: its objects are deleted"))
    }
}

#[cfg(test)]
mod tests;
