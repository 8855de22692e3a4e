//! Remedies: they bring a pod back that doesn't come up by itself, and make nothing worse: a pod in which
//! a voter may run is replaced only if its group is seen to hold a majority without it.
//!
//! No voter runs in a pod that waits, crash-loops or can't be scheduled, and in a server that reports so;
//! these may be replaced at once. For all others it is the leader that knows the voters and the living.
//! Without one nothing is known, and no such pod is replaced.
//!
//! A server that runs and waits for its group may be admitted at any moment, also between the look and the step, and be
//! needed from then on: of four voters three are a majority, and of three two. So it counts as the voter that it may
//! be by then. What doesn't run isn't admitted.

use skv_sharding::GroupId;

use super::super::situation::{PodRef, Situation, Step};
use crate::names::ServerSet;
use crate::observed::ObservedServers;
use crate::placement;
use crate::pods::{PodState, ServerPod};

/// The remedy for a pod.
pub(super) enum Remedy {
    /// This step, now.
    Step(Step),
    /// No step, for this reason.
    Held(String),
}

impl Situation<'_> {
    /// Returns the first remedy that may be applied; else the first that may not. `None` if none is
    /// needed.
    pub(super) fn heal(&self) -> Option<Remedy> {
        let pods = self.servers.iter().flat_map(|(set, servers)| {
            servers.pods.values().map(move |pod| (*set, pod, self.remedy(servers, pod)))
        });
        let mut held = None;
        for (set, pod, step) in pods {
            let Some(step) = step else { continue };
            let Some(why) = self.needed_by(set, pod) else { return Some(Remedy::Step(step)) };
            held.get_or_insert_with(|| Remedy::Held(format!("{} stays as it is: {why}", pod.name)));
        }
        held
    }

    /// Returns the step that would bring a pod back.
    fn remedy(&self, servers: &ObservedServers, pod: &ServerPod) -> Option<Step> {
        match pod.state {
            PodState::Ready | PodState::Starting => None,
            PodState::Down(_) | PodState::Stuck => {
                let is_mended = self.is_outdated(pod) && self.makes_new_pods(servers);
                is_mended.then(|| Step::Delete(PodRef::from(pod)))
            }
            PodState::Leaving => {
                let claim = servers.claim(&pod.name);
                let in_memory = self.resolved.spec.storage.memory_only;
                let is_given_up = in_memory || claim.is_some_and(|claim| claim.leaving);
                let is_lost = pod.is_lost(self.lost_nodes);
                (is_given_up && is_lost).then(|| Step::ForceDelete(PodRef::from(pod)))
            }
        }
    }

    /// Returns the reason why a pod may not be removed; `None` if it may.
    fn needed_by(&self, set: ServerSet, pod: &ServerPod) -> Option<String> {
        let server = pod.name.as_str();
        // A kubelet that isn't heard from can't report that a server runs again.
        if matches!(pod.state, PodState::Down(_)) && !self.answers(server) {
            return None;
        }
        let mut hosted = placement::hosted_by(&self.resolved.spec, set, pod.ordinal).into_iter();
        hosted.find_map(|id| {
            let may_vote = self.members.get(&id).is_none_or(|members| members.may_vote(server));
            if !may_vote && !self.may_be_admitted(id, pod) {
                return None;
            }
            if !self.holds_without(id, pod) {
                let when = if may_vote { "" } else { " once it is admitted" };
                return Some(format!("{id} isn't seen to hold a majority without it{when}"));
            }
            // If the pod is being deleted already, letting it go takes nothing more away; and the majority that is
            // there without a server that has no vote yet doesn't count who is away.
            let other = self.in_flight(id, server).filter(|_| may_vote && pod.state != PodState::Leaving)?;
            Some(format!("{other} is to be back in {id} first"))
        })
    }

    /// Returns true if a leader may admit a pod's server between this look and the step: it runs, and has a
    /// replica.
    fn may_be_admitted(&self, id: GroupId, pod: &ServerPod) -> bool {
        let runs = pod.state == PodState::Stuck || self.answers(&pod.name);
        runs && self.members.get(&id).is_some_and(|members| members.may_join(&pod.name))
    }

    fn answers(&self, server: &str) -> bool {
        self.members.values().any(|members| members.heard.contains(server))
    }

    /// Returns true if a leader has a quorum, and most voters are elsewhere, ready, and have all that it
    /// has; also when the pod's server is one more voter, if it may be admitted.
    pub(in crate::rollout) fn holds_without(&self, id: GroupId, pod: &ServerPod) -> bool {
        let server = pod.name.as_str();
        let Some(members) = self.members.get(&id) else { return false };
        let Some(leader) = members.leader.as_ref().filter(|leader| !leader.changing) else { return false };
        let is_there = |(replica, on): &(&_, &String)| {
            *on != server && members.ready.contains(*replica) && self.has_all(id, leader, **replica)
        };
        // The leader admits it in the place of the voter that it had, if there is one.
        let has_place = members.voters.values().any(|on| on == server);
        let joins = !has_place && self.may_be_admitted(id, pod);
        members.voters.iter().filter(is_there).count() * 2 > members.voters.len() + usize::from(joins)
    }

    /// Returns another server of the group that comes or goes, or is being replaced and hasn't caught up.
    fn in_flight(&self, id: GroupId, except: &str) -> Option<String> {
        let set = placement::set_of(&self.resolved.spec, id);
        let servers = self.servers.get(&set)?;
        let members = self.members.get(&id)?;
        let lags = |server: &str| {
            let replica = members.hosted.get(server).filter(|replica| members.ready.contains(*replica));
            !replica
                .zip(members.leader.as_ref())
                .is_some_and(|(id_of, leader)| self.has_all(id, leader, *id_of))
        };
        let is_away = |place: u32, server: &str| match servers.pods.get(&place).map(|pod| &pod.state) {
            None | Some(PodState::Leaving | PodState::Starting) => true,
            Some(PodState::Ready | PodState::Down(_) | PodState::Stuck) => {
                self.replacing.is_some_and(|replacing| replacing.pod == server) && lags(server)
            }
        };
        // A surplus server matters while it is a member, unless it is silent on a lost node: nobody waits for it.
        let counts = |(place, server): &(u32, String)| {
            let is_coming_or_going = || {
                let pod = servers.pods.get(place);
                pod.is_some_and(|pod| self.answers(server) || !pod.is_lost(self.lost_nodes))
                    && members.voters.values().any(|on| on == server)
            };
            !self.is_surplus(server) || is_coming_or_going()
        };
        let others = placement::places(&self.resolved.spec, id, servers.replicas()).into_iter();
        let others = others.map(|place| (place, self.resolved.names.server(set, place))).filter(counts);
        others
            .filter(|(_, server)| server != except)
            .find(|(place, server)| is_away(*place, server))
            .map(|(_, s)| s)
    }
}
