//! The plan of one pass: the next step of each kind, and the input from which objects are built.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::ShardedKv;
use skv_sharding::GroupId;

use super::decide::{self, drain};
use super::groups::{self, Roster, Turnover};
use super::look::Look;
use super::replace::{self, Losses, Lost};
use super::situation::{Decision, Situation, Step};
use super::storage::{Growth, growth};
use crate::build::ExistingServers;
use crate::names::ServerSet;
use crate::observed::{Observed, ObservedServers};
use crate::placement;
use crate::record::Record;
use crate::resolved::Resolved;

/// All work that is due for a resource, decided before its objects are applied.
#[derive(Debug)]
pub struct Plan {
    /// The resource, as it was read last.
    pub resource: ShardedKv,
    /// The resource in its intended form.
    pub resolved: Resolved,
    /// Everything that was observed; the servers live, if there was a live look.
    pub seen: Observed,
    /// The step of pods and members.
    pub decision: Decision,
    /// The servers whose replica is gone for good.
    pub lost: Lost,
    /// The steps of whole groups.
    pub turnover: Turnover,
    /// The step of the volumes of each set of servers.
    pub growth: BTreeMap<ServerSet, Growth>,
    /// True if the plan comes from a live look: its steps may be taken.
    pub is_live: bool,
}

/// Returns true if the cached view gives reason to look at the resource live.
pub fn needs_look(resource: &ShardedKv, resolved: &Resolved, seen: &Observed) -> bool {
    let status = resource.status.as_ref();
    let replacing = status.and_then(|status| status.replacing.as_ref());
    let founded = status.is_some_and(|status| status.cluster.is_some());
    let groups_need_look =
        || groups_may_change(resolved) && groups::needs_look(resolved, &seen.groups(), seen.assignment());
    let grows = |servers: &ObservedServers| growth(servers, &resolved.spec.storage) != Growth::Done;
    !resolved.spec.paused
        && (decide::needs_look(resolved, replacing, founded, &seen.servers)
            || groups_need_look()
            || replace::needs_look(resolved, status, &seen.servers)
            || drain::needs_look(seen)
            || seen.servers.values().any(grows))
}

/// Returns false for a ring: its groups neither come nor go.
fn groups_may_change(resolved: &Resolved) -> bool {
    resolved.spec.ring().is_none()
}

impl Plan {
    /// Plans no step: the objects need only be applied.
    pub fn of_cache(resource: &ShardedKv, resolved: Resolved, seen: Observed) -> Plan {
        Plan {
            resource: resource.clone(),
            growth: growths(&resolved, &seen),
            resolved,
            seen,
            decision: Decision::default(),
            lost: Lost::default(),
            turnover: Turnover::default(),
            is_live: false,
        }
    }

    /// Decides by a live look, which replaces the cached state of the servers.
    pub fn of_look(look: Look, resolved: Resolved, seen: Observed) -> Plan {
        let managers_rolled_out = look.managers_obey(&resolved.spec);
        let Look { resource, servers, members, later, lost_nodes, causes, now, .. } = look;
        let seen = seen.with_servers(&resolved.spec, servers);
        let may_change = groups_may_change(&resolved);
        let assignment = seen.assignment().filter(|_| may_change);
        let (turnover, resolved) = if may_change {
            let groups = seen.groups();
            let (members, lost_nodes) = (&members, &lost_nodes);
            let roster = Roster { resolved: &resolved, groups: &groups, members, assignment, lost_nodes };
            let turnover = roster.turnover();
            // Before the first configuration the servers have nothing to say about it.
            let wanted = if seen.is_new { resolved.wanted.clone() } else { turnover.wanted.clone() };
            let resolved = resolved.with_wanted(wanted);
            (turnover, resolved)
        } else {
            (Turnover::default(), resolved)
        };
        // Groups that have ended need no care. Those that must leave have data, and are like all others.
        let is_no_more = |id: &GroupId| {
            turnover.ended.contains(id) || members.get(id).is_some_and(|members| members.retired)
        };
        let (mut living, mut members_of_living) = (seen.servers.clone(), members.clone());
        living.retain(|set, _| set.group().is_none_or(|id| !is_no_more(&id)));
        members_of_living.retain(|id, _| !is_no_more(id));
        let groups = placement::groups(&resolved.spec, living.keys());
        let cordoned = seen.cordoned.clone().unwrap_or_default();
        let situation = Situation {
            resolved: &resolved,
            replacing: resource.status.as_ref().and_then(|status| status.replacing.as_ref()),
            servers: &living,
            members: &members_of_living,
            shareless: &assignment.map(|assignment| &groups - &assignment.sharing).unwrap_or_default(),
            later: &later,
            lost_nodes: &lost_nodes,
            cordoned: &cordoned,
            managers_rolled_out,
        };
        let mut decision = situation.decide();
        let status = resource.status.clone().unwrap_or_default();
        let under_way = situation.replacing.filter(|_| !decision.replaced);
        let losses = Losses { situation: &situation, causes: &causes, status: &status, under_way, now };
        let lost = losses.decide();
        if let Some(abandoned) = lost.next.clone().filter(|_| decision.step.is_none()) {
            decision.doing = Some(format!("replacing {}: {}", abandoned.pod.name, abandoned.why));
            decision.step = Some(Step::Abandon(abandoned));
        }
        Plan {
            resource,
            growth: growths(&resolved, &seen),
            resolved,
            seen,
            decision,
            lost,
            turnover,
            is_live: true,
        }
    }

    /// Gives up the steps that rest on objects which are as the resource says: no server that works is taken,
    /// and no StatefulSet is deleted that perhaps can't be made again. Remedies, and the replacement of what is
    /// lost, go on.
    pub fn hold_changes(&mut self) {
        let rests_on_objects = |step: &Step| matches!(step, Step::Evict(_) | Step::Remove { .. });
        self.decision.step = self.decision.step.take().filter(|step| !rests_on_objects(step));
        self.growth.retain(|_, growth| *growth != Growth::Recreate);
    }

    /// Returns the state from which the StatefulSets of servers are built. The shard manager's record is read only
    /// for servers of which neither a StatefulSet nor a pod is left.
    pub fn existing(&self, record: impl FnOnce() -> Option<Record>) -> BTreeMap<ServerSet, ExistingServers> {
        let among =
            |groups: &BTreeSet<GroupId>, set: ServerSet| set.group().is_some_and(|id| groups.contains(&id));
        let nothing = ObservedServers::default();
        let wanted = self.resolved.sets.iter().map(|set| (*set, &nothing));
        let seen = self.seen.servers.iter().map(|(set, servers)| (*set, servers));
        // The later one of a set counts.
        let sets: BTreeMap<ServerSet, &ObservedServers> = wanted.chain(seen).collect();
        let is_any_missing = sets.values().any(|servers| servers.is_missing());
        let record = is_any_missing.then(record).flatten().unwrap_or_default();
        let existing = |(set, servers): (ServerSet, &ObservedServers)| {
            let wanted = placement::servers(&self.resolved.spec, set);
            // A surplus server of a ring hosts nothing.
            let may_shrink = set == ServerSet::Ring || among(&self.decision.shrink, set);
            // There may be more members than are wanted, and a majority of them must come back. Volumes don't show
            // who is a member: those of servers that left may have been kept.
            let there = if servers.is_missing() {
                record.servers(&self.resolved.names, set)
            } else {
                servers.replicas()
            };
            let replicas = if may_shrink { wanted } else { there.max(wanted) };
            let keep_claims = matches!(self.growth.get(&set), Some(Growth::Disown(_) | Growth::Recreate));
            let storage_size = servers.set.as_ref().and_then(|set| set.storage_size.clone());
            let retired = servers.retired() || among(&self.turnover.ended, set);
            (set, ExistingServers { replicas, storage_size, keep_claims, retired })
        };
        sets.into_iter().map(existing).collect()
    }
}

fn growths(resolved: &Resolved, seen: &Observed) -> BTreeMap<ServerSet, Growth> {
    let growth =
        |(set, servers): (&ServerSet, &ObservedServers)| (*set, growth(servers, &resolved.spec.storage));
    seen.servers.iter().map(growth).collect()
}

#[cfg(test)]
mod tests;
