//! From a live look at a resource's groups to the next step. Pure.
//!
//! One step at a time, over all groups: first what heals a pod that can't come up, then what
//! was begun, then fewer replicas, then pods that are out of date. A step that takes away a
//! server that works is only taken while every group is settled.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::{Replacing, ShardedKvSpec};
use skv_sharding::{GroupId, GroupUid, ReplicaId};

use super::members::{Leader, Members};
use crate::dereference::ObservedGroup;
use crate::names::Names;
use crate::pods::{PodState, ServerPod};

/// Everything that decides.
#[derive(Debug, Clone)]
pub(crate) struct Situation<'a> {
    pub(crate) names: &'a Names,
    pub(crate) spec: &'a ShardedKvSpec,
    /// What pods should be made for.
    pub(crate) restart_hash: &'a str,
    /// The pod that was being replaced before this look.
    pub(crate) replacing: Option<&'a Replacing>,
    pub(crate) groups: &'a BTreeMap<GroupId, ObservedGroup>,
    /// What each group's servers say.
    pub(crate) members: &'a BTreeMap<GroupId, Members>,
    /// How far each leader's peers were, asked after all that is in `members` was.
    pub(crate) later: &'a BTreeMap<GroupId, Leader>,
    /// The nodes that are gone, or don't answer, of those that pods are to leave.
    pub(crate) lost_nodes: &'a BTreeSet<String>,
    /// The shard manager runs as the specification says.
    pub(crate) managers_rolled_out: bool,
}

/// What comes next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What is to be done now.
    pub(crate) step: Option<Step>,
    /// What goes on; `None` if there is nothing to do.
    pub(crate) doing: Option<String>,
    /// The replacement that was recorded is over.
    pub(crate) replaced: bool,
    /// Groups that have fewer members than servers: those that are too many may go.
    pub(crate) shrink: BTreeSet<GroupId>,
    /// Groups whose majority is gone for good.
    pub(crate) lost: Vec<GroupId>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRef {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Replace a pod that works: its group, and its disruption budget, can spare it.
    Evict(PodRef),
    /// Replace a pod that doesn't come up.
    Delete(PodRef),
    /// Let go of a pod whose node can't confirm that it stopped, and whose volume was given up:
    /// its successor is a new replica.
    ForceDelete(PodRef),
    /// Have the leader give its office away.
    HandOver { group: GroupId, server: String, address: String, to: Option<ReplicaId> },
    /// Take a replica out of its group.
    Remove { group: GroupId, uid: GroupUid, leader_address: String, replica: ReplicaId, server: String },
}

impl Step {
    /// The pod that is replaced.
    pub(crate) fn replaces(&self) -> Option<&PodRef> {
        match self {
            Step::Evict(pod) | Step::Delete(pod) | Step::ForceDelete(pod) => Some(pod),
            Step::HandOver { .. } | Step::Remove { .. } => None,
        }
    }
}

/// Whether the cached view gives reason to look at all. Without one nothing is asked.
pub(crate) fn needs_look(
    spec: &ShardedKvSpec,
    restart_hash: &str,
    replacing: Option<&Replacing>,
    founded: bool,
    groups: &BTreeMap<GroupId, ObservedGroup>,
) -> bool {
    let differs = |group: &ObservedGroup| {
        group.set.is_none()
            || group.replicas() != spec.replicas
            || group.pods.values().any(|pod| pod.restart_hash != restart_hash)
    };
    let ails = |group: &ObservedGroup| {
        let leaving = group.pods.values().any(|pod| pod.state == PodState::Leaving);
        founded && group.ready() * 2 <= group.replicas()
            || leaving && group.claims.iter().any(|claim| claim.leaving)
    };
    replacing.is_some() || groups.values().any(|group| differs(group) || ails(group))
}

impl Situation<'_> {
    /// What comes next.
    pub(crate) fn decide(&self) -> Decision {
        let mut decision = Decision {
            shrink: self.groups.keys().copied().filter(|id| self.may_shrink(*id)).collect(),
            lost: self.members.iter().filter(|(_, m)| m.majority_is_lost()).map(|(id, _)| *id).collect(),
            ..Decision::default()
        };
        if let Some(step) = self.heal() {
            decision.doing =
                step.replaces().map(|pod| format!("replacing {}, which doesn't come up", pod.name));
            decision.step = Some(step);
            return decision;
        }
        if let Some(replacing) = self.replacing {
            match self.finish(replacing) {
                None => decision.replaced = true,
                Some((step, doing)) => {
                    return Decision { step, doing: Some(doing), ..decision };
                }
            }
        }
        (decision.step, decision.doing) = self.change();
        decision
    }

    /// What brings a pod back that isn't coming by itself. It serves nobody, so that nothing
    /// is taken away.
    fn heal(&self) -> Option<Step> {
        self.groups.values().find_map(|group| {
            let lost = |pod: &&ServerPod| {
                pod.is_lost(self.lost_nodes) && group.claim(&pod.name).is_some_and(|claim| claim.leaving)
            };
            let stuck = |pod: &&ServerPod| matches!(pod.state, PodState::Stuck(_)) && self.is_outdated(pod);
            let pods = || group.pods.values();
            pods().find(lost).map(|pod| Step::ForceDelete(PodRef::from(pod))).or_else(|| {
                pods()
                    .find(stuck)
                    .filter(|_| self.makes_new_pods(group))
                    .map(|pod| Step::Delete(PodRef::from(pod)))
            })
        })
    }

    /// What is left to do of a replacement that was begun; `None` if it is over.
    fn finish(&self, replacing: &Replacing) -> Option<(Option<Step>, String)> {
        let Replacing { pod: name, uid } = replacing;
        let (id, group) = self.group_of(name)?;
        let Some(pod) = group.pod(name) else {
            // Not made again: the group has become smaller.
            let ordinal = ordinal(name)?;
            return (ordinal < group.replicas())
                .then(|| (None, format!("replacing {name}: its successor isn't there yet")));
        };
        if pod.uid == *uid && pod.state != PodState::Leaving {
            // It was recorded, and perhaps not done.
            let step = match self.unsettled(id) {
                _ if !self.is_outdated(pod) => return None,
                Some(why) => return Some((None, format!("replacing {name}: {why}"))),
                None => Step::Evict(PodRef::from(pod)),
            };
            return Some((Some(step), format!("replacing {name}")));
        }
        let why = self.unsettled(id)?;
        Some((None, format!("replacing {name}: {why}")))
    }

    /// The next change of what works.
    fn change(&self) -> (Option<Step>, Option<String>) {
        let outdated: Vec<(GroupId, Vec<&ServerPod>)> = self
            .groups
            .iter()
            .map(|(id, group)| (*id, self.staying(group).filter(|pod| self.is_outdated(pod)).collect()))
            .filter(|(_, pods): &(_, Vec<_>)| !pods.is_empty())
            .collect();
        let surplus: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, g)| g.replicas() > self.spec.replicas)
            .map(|(id, _)| *id)
            .collect();
        if outdated.is_empty() && surplus.is_empty() {
            return (None, None);
        }
        for id in self.groups.keys() {
            if let Some(why) = self.unsettled(*id) {
                return (None, Some(format!("waiting for {id}: {why}")));
            }
        }
        // A shard manager that still wants more members would offer a removed one again.
        if !self.managers_rolled_out {
            return (
                None,
                Some("waiting for the shard manager, which is updated before the servers".to_owned()),
            );
        }
        for id in surplus {
            if let Some((step, doing)) = self.remove_one(id) {
                return (Some(step), Some(doing));
            }
        }
        let Some((id, pods)) = outdated.into_iter().next() else { return (None, None) };
        self.replace_one(id, &pods)
    }

    /// Followers first. The leader goes last, when it is none any more.
    fn replace_one(&self, id: GroupId, outdated: &[&ServerPod]) -> (Option<Step>, Option<String>) {
        let Some(members) = self.members.get(&id) else { return (None, None) };
        let Some(leader) = &members.leader else { return (None, None) };
        let follower = outdated.iter().rev().find(|pod| pod.name != leader.server);
        if let Some(pod) = follower.or_else(|| outdated.first().filter(|_| members.voters.len() == 1)) {
            return (Some(Step::Evict(PodRef::from(*pod))), Some(format!("replacing {}", pod.name)));
        }
        let step = self.address(id, &leader.server).map(|address| Step::HandOver {
            group: id,
            server: leader.server.clone(),
            address,
            to: None,
        });
        (step, Some(format!("{} hands over the leadership of {id}", leader.server)))
    }

    /// One member less of a group that is to have fewer servers.
    fn remove_one(&self, id: GroupId) -> Option<(Step, String)> {
        let members = self.members.get(&id)?;
        let leader = members.leader.as_ref()?;
        let (&replica, server) = members
            .voters
            .iter()
            .filter(|(_, server)| self.is_surplus(server))
            .max_by_key(|(_, s)| ordinal(s))?;
        let leader_address = self.address(id, &leader.server)?;
        if self.is_surplus(&leader.server) {
            let (&to, _) = members.voters.iter().find(|(_, server)| !self.is_surplus(server))?;
            let doing = format!("{} hands over the leadership of {id}", leader.server);
            let server = leader.server.clone();
            let step = Step::HandOver { group: id, server, address: leader_address, to: Some(to) };
            return Some((step, doing));
        }
        let step =
            Step::Remove { group: id, uid: leader.uid, leader_address, replica, server: server.clone() };
        Some((step, format!("removing {server} from {id}")))
    }

    /// Servers that are no members any more aren't needed.
    fn may_shrink(&self, id: GroupId) -> bool {
        let Some((group, members)) = self.groups.get(&id).zip(self.members.get(&id)) else { return false };
        let settled = members.leader.as_ref().is_some_and(|leader| !leader.changing);
        group.replicas() > self.spec.replicas
            && settled
            && !members.voters.is_empty()
            && !members.voters.values().any(|server| self.is_surplus(server))
    }

    /// What a group still needs before anything may be taken from it.
    fn unsettled(&self, id: GroupId) -> Option<String> {
        let group = self.groups.get(&id)?;
        if !self.makes_new_pods(group) {
            return Some("its StatefulSet has just changed".to_owned());
        }
        let members = self.members.get(&id).cloned().unwrap_or_default();
        for ordinal in 0..group.replicas().min(self.spec.replicas) {
            let server = format!("{}-{ordinal}", self.names.group(id));
            let Some(pod) = group.pods.get(&ordinal) else { return Some(format!("{server} isn't there")) };
            match &pod.state {
                PodState::Ready => {}
                PodState::Stuck(problem) => return Some(format!("{server} isn't ready: {problem}")),
                PodState::Starting | PodState::Leaving => return Some(format!("{server} isn't ready")),
            }
            let is_voter =
                members.hosted.get(&server).is_some_and(|id| members.voters.get(id) == Some(&server));
            if !is_voter {
                return Some(format!("{server} isn't a voter"));
            }
        }
        let Some(leader) = &members.leader else {
            return Some("no leader says that it has a quorum".to_owned());
        };
        if leader.changing {
            return Some("its members are changing".to_owned());
        }
        let later = self.later.get(&id).filter(|later| later.replica == leader.replica);
        let matched = |id: &ReplicaId| later.and_then(|later| later.matched.get(id)).copied();
        let behind = members.voters.iter().find(|(id, server)| {
            **id != leader.replica
                && !self.is_surplus(server)
                && matched(id).is_none_or(|at| at < leader.last)
        });
        behind.map(|(_, server)| format!("{server} hasn't caught up"))
    }

    fn staying<'b>(&self, group: &'b ObservedGroup) -> impl Iterator<Item = &'b ServerPod> {
        let replicas = self.spec.replicas;
        group.pods.values().filter(move |pod| pod.ordinal < replicas)
    }

    /// A pod that is made now is up to date.
    fn makes_new_pods(&self, group: &ObservedGroup) -> bool {
        group.set.as_ref().is_some_and(|set| set.is_current && set.restart_hash == self.restart_hash)
    }

    fn is_outdated(&self, pod: &ServerPod) -> bool {
        pod.restart_hash != self.restart_hash
    }

    fn is_surplus(&self, server: &str) -> bool {
        ordinal(server).is_some_and(|ordinal| ordinal >= self.spec.replicas)
    }

    fn group_of(&self, server: &str) -> Option<(GroupId, &ObservedGroup)> {
        let set = server.rsplit_once('-')?.0;
        let (id, group) = self.groups.iter().find(|(id, _)| self.names.group(**id) == set)?;
        Some((*id, group))
    }

    fn address(&self, id: GroupId, server: &str) -> Option<String> {
        self.groups.get(&id)?.pod(server)?.peer_address.clone()
    }
}

impl From<&ServerPod> for PodRef {
    fn from(pod: &ServerPod) -> PodRef {
        PodRef { name: pod.name.clone(), uid: pod.uid.clone() }
    }
}

fn ordinal(server: &str) -> Option<u32> {
    server.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests;
