//! Leaders on nodes that are about to be emptied: they hand over before their pods are evicted, so that a
//! drain finds only followers. Nothing brings them back, and while anything else is under way they stay.

use super::super::situation::{Situation, Step};
use crate::observed::Observed;
use crate::pods::ServerPod;

/// Returns true if the cached view, and the shard manager, give reason to look for such leaders.
pub(in crate::rollout) fn needs_look(seen: &Observed) -> bool {
    let Some(cordoned) = &seen.cordoned else { return false };
    let is_cordoned = |pod: &ServerPod| pod.node.as_ref().is_some_and(|node| cordoned.contains(node));
    let leaders = seen.map.iter().flat_map(|map| map.leaders.values());
    let mut places = leaders.flat_map(|leader| {
        seen.servers.values().filter_map(move |servers| Some((servers, servers.pod(leader)?)))
    });
    places.any(|(servers, leader)| {
        is_cordoned(leader) && servers.pods.values().any(|pod| pod.is_ready() && !is_cordoned(pod))
    })
}

impl Situation<'_> {
    /// Returns the hand-over of a leader that must move, to a voter that needn't and that has room: without
    /// room it would give the leadership back.
    pub(super) fn hand_over_ahead(&self) -> Option<(Step, String)> {
        self.members.iter().find_map(|(id, members)| {
            let leader = members.leader.as_ref()?;
            let pod = self.pod(&leader.server).filter(|pod| self.must_move(pod))?;
            let stays =
                |server: &str| self.pod(server).is_some_and(|pod| pod.is_ready() && !self.must_move(pod));
            let mut voters = members.voters.iter().filter(|(replica, _)| !members.full.contains(*replica));
            let (&to, _) = voters.find(|(_, server)| stays(server))?;
            let address = pod.peer_address.clone().filter(|_| self.unsettled(*id).is_none())?;
            let (server, meant) = (leader.server.clone(), leader.identity());
            let doing =
                format!("{server} hands over the leadership of {id}: its node is about to be emptied");
            Some((Step::HandOver { group: *id, meant, server, address, to: Some(to) }, doing))
        })
    }

    /// Returns true if a pod's node is about to be emptied.
    pub(super) fn must_move(&self, pod: &ServerPod) -> bool {
        pod.node.as_ref().is_some_and(|node| self.cordoned.contains(node))
    }
}
