//! Groups that come and go, each with servers of its own: from what is asked for, what there is,
//! and what the shard manager and the servers say, to the next steps. Pure.
//!
//! Groups join together, once all that are asked for are founded and most of their servers are
//! ready. A group that is too many leaves, and is drained. When by its own word it has nothing,
//! it is retired, by an entry in its log: from then on it takes nothing. When the shard manager
//! has forgotten it, its servers stop; when they are gone, its objects go. Each step needs the
//! one before to be seen, so that one that is taken again, or late, does no harm.

use std::collections::{BTreeMap, BTreeSet};

use skv_resource::{Retention, ShardedKvSpec};
use skv_sharding::{GroupId, GroupUid};

use super::decide::PodRef;
use super::members::Members;
use crate::dereference::{ObservedMap, ObservedServers, ObservedSet};
use crate::names::{Names, ServerSet};
use crate::wanted::wanted_of;

/// Everything that decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roster<'a> {
    pub(crate) names: &'a Names,
    pub(crate) spec: &'a ShardedKvSpec,
    /// Those that have servers, and those that the shard manager knows.
    pub(crate) groups: &'a BTreeMap<GroupId, ObservedServers>,
    /// What each group's servers say.
    pub(crate) members: &'a BTreeMap<GroupId, Members>,
    /// What the shard manager says; `None` if it can't be asked.
    pub(crate) map: Option<&'a ObservedMap>,
    /// The nodes that are gone, or don't answer, of those that pods are to leave.
    pub(crate) lost_nodes: &'a BTreeSet<String>,
}

/// What comes next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Turnover {
    /// What is to be done now. None of it takes anything from a group that has something.
    pub(crate) steps: Vec<GroupStep>,
    /// What goes on, group by group.
    pub(crate) doing: Vec<String>,
    /// Groups that are no more: their servers stop.
    pub(crate) retired: BTreeSet<GroupId>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupStep {
    /// Have groups share the shards.
    Join(Vec<GroupId>),
    /// Have groups give their shards to the others.
    Leave(Vec<GroupId>),
    /// Have a group that has nothing take nothing any more.
    Retire { group: GroupId, uid: GroupUid, leader_address: String },
    /// Let go of a pod of a group that is no more, whose node can't confirm that it stopped.
    LetGo { group: GroupId, pod: PodRef },
    /// Have claims that are to be kept belong to nobody.
    Disown { group: GroupId, claims: Vec<String> },
    /// Delete the Service and the StatefulSet of a group that is no more.
    Delete { group: GroupId, set: ObservedSet },
}

/// Whether the cached view, or the shard manager, gives reason to look at all.
pub(crate) fn needs_look(
    spec: &ShardedKvSpec,
    groups: &BTreeMap<GroupId, ObservedServers>,
    map: Option<&ObservedMap>,
) -> bool {
    let wanted = wanted_of(spec.groups, groups, map);
    let shared_by_others = |map: &ObservedMap| !map.sharing.iter().eq(wanted.difference(&map.drained));
    groups.iter().any(|(id, group)| !wanted.contains(id) || group.retired())
        || map.is_some_and(shared_by_others)
}

impl Roster<'_> {
    /// What comes next.
    pub(crate) fn turnover(&self) -> Turnover {
        let mut turnover = Turnover::default();
        for (id, group) in self.groups {
            if group.retired() {
                turnover.retired.insert(*id);
            }
        }
        let Some(map) = self.map else {
            turnover.doing.extend(self.too_many());
            return turnover;
        };
        let wanted = self.wanted();
        self.join(&wanted, map, &mut turnover);
        self.leave(&wanted, map, &mut turnover);
        let ending = |id: &GroupId, group: &ObservedServers| {
            !wanted.contains(id) || group.retired() || self.says_retired(*id)
        };
        for (id, group) in self.groups.iter().filter(|(id, group)| ending(id, group)) {
            let step = match &group.set {
                Some(set) if set.retired => self.clear_away(*id, group, set),
                _ if map.sharing.contains(id) => continue,
                _ => self.retire(*id, group, map),
            };
            match step {
                Next::Step(step, doing) => {
                    turnover.steps.push(step);
                    turnover.doing.push(doing);
                }
                Next::Stop => {
                    turnover.retired.insert(*id);
                    turnover.doing.push(format!("{id} is no more: its servers stop"));
                }
                Next::Wait(why) => turnover.doing.push(why),
            }
        }
        turnover
    }

    /// That some are too many. Who has what, and so which of them, the shard manager alone can say.
    fn too_many(&self) -> Option<String> {
        let stay = |(id, group): (&GroupId, &ObservedServers)| (!group.retired()).then_some(*id);
        let groups: Vec<GroupId> = self.groups.iter().filter_map(stay).collect();
        let all = GroupId::list(&groups);
        match groups.len().saturating_sub(self.spec.groups as usize) {
            0 => None,
            1 => Some(format!("one of {all} is to leave: waiting for the shard manager")),
            more => Some(format!("{more} of {all} are to leave: waiting for the shard manager")),
        }
    }

    fn wanted(&self) -> BTreeSet<GroupId> {
        wanted_of(self.spec.groups, self.groups, self.map)
    }

    /// All that are missing join at once, so that each shard moves once. Those that people have
    /// drained are left to them.
    fn join(&self, wanted: &BTreeSet<GroupId>, map: &ObservedMap, turnover: &mut Turnover) {
        let to_share: Vec<GroupId> = wanted.difference(&map.drained).copied().collect();
        let missing: Vec<GroupId> = to_share.iter().copied().filter(|id| !map.sharing.contains(id)).collect();
        if missing.is_empty() {
            return;
        }
        if let Some(why) = to_share.into_iter().find_map(|id| self.keeps_others_from_joining(id, map)) {
            turnover.doing.push(format!(
                "{} {} to join: {why}",
                GroupId::list(&missing),
                verb(&missing, "is", "are")
            ));
            return;
        }
        turnover.doing.push(format!("{} {}", GroupId::list(&missing), verb(&missing, "joins", "join")));
        turnover.steps.push(GroupStep::Join(missing));
    }

    fn keeps_others_from_joining(&self, id: GroupId, map: &ObservedMap) -> Option<String> {
        let group = self.groups.get(&id);
        if group.is_some_and(ObservedServers::retired) || self.says_retired(id) {
            return Some(format!("waiting for the old {id} to be gone"));
        }
        if !map.founded.contains_key(&id) {
            return Some(format!("waiting for {id} to be founded"));
        }
        let ready = group.is_some_and(ObservedServers::has_quorum_ready);
        (!ready).then(|| format!("waiting for a majority of the servers of {id}"))
    }

    /// All that are too many leave at once, so that no shard goes from one to the other.
    fn leave(&self, wanted: &BTreeSet<GroupId>, map: &ObservedMap, turnover: &mut Turnover) {
        let too_many = |id: &GroupId| !wanted.contains(id) || self.says_retired(*id);
        let leaving: Vec<GroupId> = map.sharing.iter().copied().filter(too_many).collect();
        if leaving.is_empty() {
            return;
        }
        if leaving.len() == map.sharing.len() {
            let are = verb(&leaving, "is", "are");
            turnover.doing.push(format!(
                "{} {are} to leave: no other group shares the shards",
                GroupId::list(&leaving)
            ));
            return;
        }
        turnover.doing.push(format!("{} {}", GroupId::list(&leaving), verb(&leaving, "leaves", "leave")));
        turnover.steps.push(GroupStep::Leave(leaving));
    }

    /// From a group that shares the shards no more to one that is no more.
    fn retire(&self, id: GroupId, group: &ObservedServers, map: &ObservedMap) -> Next {
        let members = self.members.get(&id).cloned().unwrap_or_default();
        let Some(uid) = map.founded.get(&id) else {
            // It was never founded, or it was retired and forgotten.
            return match self.who_may_have_something(id, group, &members) {
                None => Next::Stop,
                Some(why) => Next::Wait(format!("{id} is to go: {why}")),
            };
        };
        if members.is_retired() {
            return Next::Wait(format!("{id} is retired: waiting for the shard manager to forget it"));
        }
        if group.is_missing() {
            return Next::Wait(format!("{id} is to leave: its servers, which are gone, are made again"));
        }
        let Some(leader) = &members.leader else {
            return Next::Wait(format!("{id} is to leave, but no leader of it has a quorum"));
        };
        if leader.uid != *uid {
            return Next::Wait(format!("{id} is to leave, but the shard manager knows another {id}"));
        }
        let shards = map.shards_of(id).max(leader.owned);
        if shards > 0 {
            return Next::Wait(format!("{id} leaves: {shards} of its shards are still to go"));
        }
        if leader.arriving > 0 {
            return Next::Wait(format!("{id} leaves: it still receives {} shards", leader.arriving));
        }
        let pod = group.pod(&leader.server);
        let Some(leader_address) = pod.and_then(|pod| pod.peer_address.clone()) else {
            return Next::Wait(format!("{id} leaves: {} has no address", leader.server));
        };
        let step = GroupStep::Retire { group: id, uid: *uid, leader_address };
        Next::Step(step, format!("{id} is empty, and is retired"))
    }

    /// Of a group that the shard manager doesn't know: what speaks against stopping its servers.
    fn who_may_have_something(
        &self,
        id: GroupId,
        group: &ObservedServers,
        members: &Members,
    ) -> Option<String> {
        if members.lives {
            return Some("waiting for the shard manager, to which it isn't known yet".to_owned());
        }
        if members.retired {
            // That was committed: whoever doesn't answer has nothing either. Those that are about
            // to learn it may: on a volume that is kept they would take the group for a living one.
            let unaware = members.unaware.first();
            return unaware.map(|server| format!("waiting for {server} to learn that {id} is retired"));
        }
        let ordinals: BTreeSet<u32> = (0..group.replicas()).chain(group.pods.keys().copied()).collect();
        let server = |ordinal| self.names.server(ServerSet::Group(id), ordinal);
        let unknown = ordinals.into_iter().find(|ordinal| {
            // Where there never was a node or a volume, nothing can be.
            let pod = group.pods.get(ordinal);
            let has_place = pod.is_some_and(|pod| pod.node.is_some())
                || group.claim(&server(*ordinal)).is_some_and(|claim| claim.bound);
            has_place && !members.waiting.contains(&server(*ordinal))
        })?;
        Some(format!("{} doesn't say that it has nothing", server(unknown)))
    }

    /// What is left of a group whose servers were told to go.
    fn clear_away(&self, id: GroupId, group: &ObservedServers, set: &ObservedSet) -> Next {
        if let Some(pod) = group.pods.values().find(|pod| pod.is_lost(self.lost_nodes)) {
            let doing = format!("{} is let go: its node is lost", pod.name);
            return Next::Step(GroupStep::LetGo { group: id, pod: PodRef::from(pod) }, doing);
        }
        if !group.pods.is_empty() || set.replicas > 0 || !set.is_current {
            return Next::Wait(format!("{id} is no more: waiting for its servers to stop"));
        }
        if set.leaving {
            return Next::Wait(format!("{id} is no more: waiting for its StatefulSet to go"));
        }
        let owned = group.claims.iter().filter(|claim| claim.owned && !claim.leaving);
        let claims: Vec<String> = owned.map(|claim| claim.name.clone()).collect();
        if self.spec.storage.when_scaled == Retention::Retain && !claims.is_empty() {
            let doing = format!("{id} is no more: its volumes are kept");
            return Next::Step(GroupStep::Disown { group: id, claims }, doing);
        }
        let step = GroupStep::Delete { group: id, set: set.clone() };
        Next::Step(step, format!("{id} is no more: its objects are deleted"))
    }

    fn says_retired(&self, id: GroupId) -> bool {
        self.members.get(&id).is_some_and(|members| members.retired)
    }
}

/// What comes next for one group.
enum Next {
    Step(GroupStep, String),
    /// Its servers stop.
    Stop,
    /// Nothing, for this reason.
    Wait(String),
}

fn verb(groups: &[GroupId], one: &'static str, many: &'static str) -> &'static str {
    if groups.len() == 1 { one } else { many }
}

#[cfg(test)]
mod tests;
