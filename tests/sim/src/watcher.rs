//! Somebody who asks the servers of a group again and again how they are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skv_proto::v1::ReplicaStatus;

use crate::cluster::Cluster;
use crate::layout::{SERVERS, servers_of};
use crate::net;
use crate::operator::statuses;

/// The last answers of the servers of a group: those that answered, by their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(usize, ReplicaStatus)>>>);

impl Seen {
    /// Adds the watcher of a group to the simulation.
    pub(crate) fn watch(cluster: &mut Cluster, group: usize) -> Seen {
        let seen = Seen::default();
        let watched = seen.clone();
        let look = cluster.look;
        cluster.sim.host(format!("watcher-{group}"), move || watch(group, look, watched.clone()));
        seen
    }

    /// Returns the last answers.
    pub(crate) fn statuses(&self) -> Vec<(usize, ReplicaStatus)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if all servers answer, and say so.
    pub(crate) fn all(&self, condition: impl Fn(&ReplicaStatus) -> bool) -> bool {
        let statuses = self.statuses();
        statuses.len() == SERVERS && statuses.iter().all(|(_, status)| condition(status))
    }

    /// Returns a server's last answer.
    pub(crate) fn of(&self, server: usize) -> Option<ReplicaStatus> {
        self.statuses().into_iter().find(|(index, _)| *index == server).map(|(_, status)| status)
    }

    /// The server that leads, with its term.
    pub(crate) fn leader(&self) -> Option<(usize, u64)> {
        let leading = self.statuses().into_iter().filter(|(_, status)| status.leads_a_quorum());
        leading.map(|(index, status)| (index, status.term)).max_by_key(|(_, term)| *term)
    }

    /// The first server of the group that doesn't lead.
    pub(crate) fn follower(&self, group: usize) -> Option<usize> {
        let (leader, _) = self.leader()?;
        servers_of(group).find(|index| *index != leader)
    }
}

async fn watch(group: usize, look: Duration, seen: Seen) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    loop {
        let now = statuses(&dial, group).await;
        *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
        tokio::time::sleep(look).await;
    }
}
