//! The decision on the next step, from a live look at a resource's groups.
//!
//! One step is taken at a time, over all groups: first remedies for a pod that can't come up, then the
//! rest of a replacement that was begun, then fewer replicas, then pods that are out of date. A step that
//! removes a server that works is only taken while its group, and every group that shares the shards, is
//! settled: a group that comes or goes holds up no other. Groups with servers of their own and groups in a
//! ring differ only in the servers that are theirs.
//!
//! So at most one server that works is away at a time. A broken one, if it may be a voter, also waits for
//! those of its groups that come or go (`heal`), and a lost one for all that may be on their way (`replace`).
//! Kubernetes replaces no pod by itself (`OnDelete`), and evictions by others have to meet the disruption
//! budget.

pub(super) mod drain;
mod heal;

use std::collections::BTreeMap;

use skv_resource::Replacing;
use skv_sharding::{GroupId, ReplicaId};

use self::heal::Remedy;
use super::members::Members;
use super::situation::{Decision, PodRef, Situation, Step};
use crate::names::{ServerSet, ordinal};
use crate::observed::ObservedServers;
use crate::placement;
use crate::pods::{PodState, ServerPod};
use crate::resolved::Resolved;

/// The message while the shard manager isn't as the specification says.
const MANAGER_FIRST: &str = "waiting for the shard manager, which is updated before the servers";

/// Returns true if the cached view gives reason to look at all. Without one no server is asked.
pub(super) fn needs_look(
    resolved: &Resolved,
    replacing: Option<&Replacing>,
    founded: bool,
    seen: &BTreeMap<ServerSet, ObservedServers>,
) -> bool {
    let Resolved { spec, restart_hash, .. } = resolved;
    let differs = |set: ServerSet, servers: &ObservedServers| {
        servers.set.is_none()
            || servers.replicas() != placement::servers(spec, set)
            || servers.pods.values().any(|pod| pod.restart_hash != *restart_hash)
    };
    let has_no_quorum = |group: &GroupId, servers: &ObservedServers| {
        let (replicas, ready) = placement::replicas(spec, *group, servers);
        ready * 2 <= replicas
    };
    let ails = |set: ServerSet, servers: &ObservedServers| {
        let leaving = servers.pods.values().any(|pod| pod.state == PodState::Leaving);
        founded && placement::groups(spec, [&set]).iter().any(|group| has_no_quorum(group, servers))
            || leaving && (spec.storage.memory_only || servers.claims.iter().any(|claim| claim.leaving))
    };
    replacing.is_some() || seen.iter().any(|(set, servers)| differs(*set, servers) || ails(*set, servers))
}

impl Situation<'_> {
    /// Decides on the next step.
    pub(super) fn decide(&self) -> Decision {
        let mut decision = Decision {
            shrink: self.groups().into_iter().filter(|id| self.may_shrink(*id)).collect(),
            lost: self.members.iter().filter(|(_, m)| m.majority_is_lost()).map(|(id, _)| *id).collect(),
            ..Decision::default()
        };
        let held = match self.heal() {
            Some(Remedy::Step(step)) => {
                decision.doing =
                    step.replaces().map(|pod| format!("replacing {}, which doesn't come up", pod.name));
                decision.step = Some(step);
                return decision;
            }
            Some(Remedy::Held(why)) => Some(why),
            None => None,
        };
        let finish = self.replacing.and_then(|replacing| self.finish(replacing));
        decision.replaced = self.replacing.is_some() && finish.is_none();
        let (step, doing) = finish.map_or_else(|| self.change(), |(step, doing)| (step, Some(doing)));
        let is_idle = step.is_none() && doing.is_none() && held.is_none();
        let (step, doing) = match self.hand_over_ahead().filter(|_| is_idle) {
            Some((step, doing)) => (Some(step), Some(doing)),
            None => (step, doing),
        };
        let doing: Vec<String> = doing.into_iter().chain(held.filter(|_| step.is_none())).collect();
        decision.doing = (!doing.is_empty()).then(|| doing.join("; "));
        decision.step = step;
        decision
    }

    /// Returns the rest of a replacement that was begun; `None` if it is over.
    fn finish(&self, replacing: &Replacing) -> Option<(Option<Step>, String)> {
        let Replacing { pod: name, uid } = replacing;
        let (set, servers) = self.set_of(name)?;
        let Some(pod) = servers.pod(name) else {
            // The pod isn't made again: the group has become smaller.
            let ordinal = ordinal(name)?;
            return (ordinal < servers.replicas())
                .then(|| (None, format!("replacing {name}: its successor isn't there yet")));
        };
        let hosted = placement::hosted_by(&self.resolved.spec, set, pod.ordinal);
        let unsettled = || hosted.iter().find_map(|id| self.unsettled(*id));
        let is_shareless = hosted.iter().all(|id| self.shareless.contains(id));
        if pod.uid == *uid && pod.state != PodState::Leaving {
            // The step was recorded, and perhaps not carried out.
            let step = match unsettled() {
                _ if !self.is_outdated(pod) => return None,
                // That one goes first: the group might have no majority without both.
                None if hosted.iter().any(|id| self.has_surplus_voter(*id)) => return None,
                Some(_) if is_shareless => return None,
                Some(why) => return Some((None, format!("replacing {name}: {why}"))),
                // The settings may have changed again since.
                None if !self.managers_rolled_out => return Some((None, MANAGER_FIRST.to_owned())),
                None => Step::Evict(PodRef::from(pod)),
            };
            return Some((Some(step), format!("replacing {name}")));
        }
        let why = unsettled()?;
        // If the successor answers, the new settings work: then it is the group that has a problem.
        let answers = |id: &GroupId| self.members.get(id).is_some_and(|m| m.hosted.contains_key(name));
        if is_shareless && pod.state != PodState::Leaving && hosted.iter().all(answers) {
            return None;
        }
        Some((None, format!("replacing {name}: {why}")))
    }

    /// Returns the next change of servers that work.
    fn change(&self) -> (Option<Step>, Option<String>) {
        let mut outdated: Vec<(ServerSet, Vec<&ServerPod>)> = self
            .servers
            .iter()
            .map(|(set, servers)| {
                (*set, self.staying(*set, servers).filter(|pod| self.is_outdated(pod)).collect())
            })
            .filter(|(_, pods): &(_, Vec<_>)| !pods.is_empty())
            .collect();
        let mut surplus: Vec<GroupId> = self
            .servers
            .iter()
            .filter_map(|(set, servers)| Some((set.group()?, servers)))
            // One may have joined just before its server went.
            .filter(|(id, servers)| {
                servers.replicas() > self.wanted_servers(*id) || self.has_surplus_voter(*id)
            })
            .map(|(id, _)| id)
            .collect();
        if outdated.is_empty() && surplus.is_empty() {
            return (None, None);
        }
        let ailing: BTreeMap<GroupId, String> =
            self.groups().into_iter().filter_map(|id| Some((id, self.unsettled(id)?))).collect();
        let waits = |id: &GroupId| (None, Some(format!("waiting for {id}: {}", ailing[id])));
        if let Some(id) = ailing.keys().find(|id| !self.shareless.contains(id)) {
            return waits(id);
        }
        let mut to_change = surplus.iter().copied().chain(outdated.iter().filter_map(|(set, _)| set.group()));
        let held_up = to_change.find(|id| ailing.contains_key(id));
        outdated.retain(|(set, _)| set.group().is_none_or(|id| !ailing.contains_key(&id)));
        surplus.retain(|id| !ailing.contains_key(id));
        if let Some(id) = held_up.filter(|_| outdated.is_empty() && surplus.is_empty()) {
            return waits(&id);
        }
        // A shard manager that still wants more members would offer a removed one again.
        if !self.managers_rolled_out {
            return (None, Some(MANAGER_FIRST.to_owned()));
        }
        for id in surplus {
            if let Some((step, doing)) = self.remove_one(id) {
                return (Some(step), Some(doing));
            }
        }
        outdated.first().map_or((None, None), |(_, pods)| self.replace_one(pods))
    }

    /// Replaces a server that leads no group first. A leader is replaced last, when it leads no more; of
    /// those that lead several groups, the one that leads the fewest hands over first.
    fn replace_one(&self, outdated: &[&ServerPod]) -> (Option<Step>, Option<String>) {
        let next = outdated.iter().rev().min_by_key(|pod| self.led_by(pod).len());
        let Some(pod) = next else { return (None, None) };
        let Some(&group) = self.led_by(pod).first() else {
            return (Some(Step::Evict(PodRef::from(*pod))), Some(format!("replacing {}", pod.name)));
        };
        let to = self.successor(group);
        let leader = self.members.get(&group).and_then(|members| members.leader.as_ref());
        let step = leader.zip(pod.peer_address.clone()).map(|(leader, address)| Step::HandOver {
            group,
            meant: leader.identity(),
            server: pod.name.clone(),
            address,
            to,
        });
        (step, Some(format!("{} hands over the leadership of {group}", pod.name)))
    }

    /// Returns the groups that a server leads and can hand over: those that have other voters.
    fn led_by(&self, pod: &ServerPod) -> Vec<GroupId> {
        let leads = |members: &Members| {
            members.voters.len() > 1 && members.leader.as_ref().is_some_and(|l| l.server == pod.name)
        };
        self.members.iter().filter(|(_, members)| leads(members)).map(|(id, _)| *id).collect()
    }

    /// Returns a voter that is up to date already, so that it needn't hand over again, best with room for
    /// data, so that it doesn't either, and on a node that isn't about to be emptied; `None` where the choice
    /// doesn't matter.
    fn successor(&self, id: GroupId) -> Option<ReplicaId> {
        let members = self.members.get(&id)?;
        let leader = members.leader.as_ref()?;
        // Worst is a server that is out of date; it hands over again.
        let rank = |replica: &ReplicaId, server: &str| {
            let pod = self.pod(server);
            let is_outdated = pod.is_none_or(|pod| self.is_outdated(pod));
            let must_move = pod.is_none_or(|pod| self.must_move(pod));
            (is_outdated, members.full.contains(replica), must_move)
        };
        let others = members.voters.iter().filter(|(replica, _)| **replica != leader.replica);
        let ranked: Vec<_> = others.map(|(replica, server)| (rank(replica, server), *replica)).collect();
        let &(best, to) = ranked.iter().min_by_key(|(rank, _)| *rank)?;
        let matters = ranked.iter().any(|(rank, _)| *rank != best);
        let (is_outdated, ..) = best;
        (matters && !is_outdated).then_some(to)
    }

    /// Takes one member out of a group that should have fewer servers. One that is lost, or lags, goes before those that
    /// work: a majority of those that stay may need each of these. The leader judges that, and refuses to remove one
    /// without which there would be none.
    fn remove_one(&self, id: GroupId) -> Option<(Step, String)> {
        let members = self.members.get(&id)?;
        let leader = members.leader.as_ref()?;
        let works =
            |replica: ReplicaId| members.ready.contains(&replica) && self.has_all(id, leader, replica);
        let (&replica, server) = members
            .voters
            .iter()
            .filter(|(_, server)| self.is_surplus(server))
            .max_by_key(|(replica, server)| (!works(**replica), ordinal(server)))?;
        let leader_address = self.address(&leader.server)?;
        if self.is_surplus(&leader.server) {
            let staying = members.voters.iter().filter(|(_, server)| !self.is_surplus(server));
            let (&to, _) = staying.min_by_key(|(replica, _)| members.full.contains(*replica))?;
            let doing = format!("{} hands over the leadership of {id}", leader.server);
            let (server, meant) = (leader.server.clone(), leader.identity());
            let step = Step::HandOver { group: id, meant, server, address: leader_address, to: Some(to) };
            return Some((step, doing));
        }
        let step =
            Step::Remove { group: id, uid: leader.uid, leader_address, replica, server: server.clone() };
        Some((step, format!("removing {server} from {id}")))
    }

    /// Returns true if the surplus servers of a group are no members any more, so that they aren't needed.
    fn may_shrink(&self, id: GroupId) -> bool {
        let servers = self.servers.get(&placement::set_of(&self.resolved.spec, id));
        let Some((servers, members)) = servers.zip(self.members.get(&id)) else { return false };
        let settled = members.leader.as_ref().is_some_and(|leader| !leader.changing);
        // A shard manager that still wants more members has a surplus server join that is none yet.
        servers.replicas() > self.wanted_servers(id)
            && self.managers_rolled_out
            && settled
            && !members.voters.is_empty()
            && !self.has_surplus_voter(id)
    }

    /// Returns true if a member of a group must leave it.
    fn has_surplus_voter(&self, id: GroupId) -> bool {
        let members = self.members.get(&id);
        members.is_some_and(|members| members.voters.values().any(|server| self.is_surplus(server)))
    }

    /// Returns the condition that a group still misses before any server may be taken from it.
    fn unsettled(&self, id: GroupId) -> Option<String> {
        let set = placement::set_of(&self.resolved.spec, id);
        let servers = self.servers.get(&set)?;
        if !self.makes_new_pods(servers) {
            return Some("its StatefulSet has just changed".to_owned());
        }
        let members = self.members.get(&id).cloned().unwrap_or_default();
        let staying = servers.replicas().min(self.wanted_servers(id));
        for place in placement::places(&self.resolved.spec, id, staying) {
            let server = self.resolved.names.server(set, place);
            let Some(pod) = servers.pods.get(&place) else { return Some(format!("{server} isn't there")) };
            if !pod.is_ready() {
                let problem = pod.state.problem();
                return Some(problem.map_or_else(
                    || format!("{server} isn't ready"),
                    |problem| format!("{server} isn't ready: {problem}"),
                ));
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
        let mut staying = members.voters.iter().filter(|(_, server)| !self.is_surplus(server));
        let behind = staying.find(|(replica, _)| !self.has_all(id, leader, **replica));
        behind.map(|(_, server)| format!("{server} hasn't caught up"))
    }
}

#[cfg(test)]
pub(super) mod tests;
