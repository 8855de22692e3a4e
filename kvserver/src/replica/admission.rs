//! What only the leader does: founding the group, admitting replacements, and keeping
//! time for idle sessions.
//!
//! A replacement comes from the manager, under a version that the group must not have
//! passed. It joins as a learner, catches up, and takes the place of the replica that the
//! same server held before (DESIGN: "Identity and admission").

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{ChangeMembers, RaftMetrics};
use skv_sharding::{MapRevision, Replica, ReplicaId};
use tokio::time::Instant;

use super::{Running, TypeConfig};
use crate::clock::Clock;
use crate::raft::types::{EncodedEntry, ServerName};
use crate::store::{Applied, encode_found, encode_obey, encode_tick};

/// How often the leader looks around.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a learner may take to catch up before it is tried again.
const CATCH_UP: Duration = Duration::from_mins(2);
/// A leader without disk space lets others try, at most this often: they may have none either.
const MAKE_WAY: Duration = Duration::from_secs(10);
/// Silence that is enough when the server itself says that it was started anew.
const RESTARTED_SILENCE: Duration = Duration::from_secs(1);

impl Running {
    /// Runs for as long as the replica does; acts only while it leads.
    pub(super) async fn lead(&self, clock: Clock, replace_after: Duration) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leads_since = None;
        let mut made_way: Option<Instant> = None;
        loop {
            tick.tick().await;
            if !self.hints.is_leader() || *self.hold.borrow() {
                leads_since = None;
                continue;
            }
            let office = leads_since.get_or_insert_with(Instant::now).elapsed();
            if self.space.is_full() && made_way.is_none_or(|at| at.elapsed() > MAKE_WAY) {
                made_way = Some(Instant::now());
                match self.hand_over(None).await {
                    Ok(leader) => {
                        tracing::warn!(group = %self.place.group, %leader, "the disk is full: another replica leads")
                    }
                    Err(error) => tracing::warn!(group = %self.place.group, %error, "the disk is full"),
                }
                continue;
            }
            let orders = self.orders.lock().clone();
            if self.store.facts().is_none() {
                if let Some(founding) = orders.founding {
                    tracing::info!(group = %self.place.group, uid = %self.place.uid, "founding the group");
                    match encode_found(clock.now_ms(), self.place.cluster, founding, orders.version.0) {
                        Ok(entry) => drop(self.propose_control(entry).await),
                        Err(error) => {
                            tracing::error!(group = %self.place.group, %error, "the manager's record can't be")
                        }
                    }
                }
                continue;
            }
            if self.store.sessions_due(clock.now_ms()) {
                self.propose_control(encode_tick(clock.now_ms())).await;
            }
            let metrics = self.raft.metrics().borrow_watched().clone();
            if metrics.membership_config.membership().get_joint_config().len() > 1 {
                self.leave_joint(&metrics).await;
                continue;
            }
            let situation = Situation { metrics: &metrics, office, replace_after };
            let change =
                situation.next_change(&orders.candidates, |id| self.map.instance(self.place.group, id));
            if let Some(change) = change {
                self.admit(change, orders.version, &clock).await;
            }
        }
    }

    async fn propose_control(&self, entry: bytes::Bytes) -> Option<Applied> {
        match tokio::time::timeout(CATCH_UP, self.raft.client_write(EncodedEntry(entry))).await {
            Ok(Ok(response)) => Some(response.data),
            Ok(Err(error)) => {
                tracing::warn!(group = %self.place.group, %error, "a control entry was not applied; it will be tried again");
                None
            }
            Err(_) => None,
        }
    }

    /// A change whose leader died half way is finished by issuing its end again.
    async fn leave_joint(&self, metrics: &RaftMetrics<TypeConfig>) {
        let membership = metrics.membership_config.membership();
        let Some(target) = membership.get_joint_config().last().cloned() else { return };
        if metrics.committed_membership_config.log_id() != metrics.membership_config.log_id() {
            return;
        }
        tracing::info!(group = %self.place.group, ?target, "finishing a change of members");
        if let Err(error) = self.raft.change_membership(ChangeMembers::ReplaceAllVoters(target), false).await
        {
            tracing::warn!(group = %self.place.group, %error, "the change of members isn't finished yet");
        }
    }

    async fn admit(&self, change: Change, version: MapRevision, clock: &Clock) {
        let Change { joins, server, leaves, voters } = change;
        // A manager that was restored from an old copy must not undo what a newer one did.
        match self.propose_control(encode_obey(clock.now_ms(), version.0)).await {
            Some(Applied::Obeyed { accepted: true, .. }) => {}
            Some(_) => {
                tracing::warn!(group = %self.place.group, %version, "the manager's word is older than the group's; not obeyed");
                return;
            }
            None => return,
        }
        tracing::info!(group = %self.place.group, %joins, ?leaves, server, "admitting a replica");
        let added =
            tokio::time::timeout(CATCH_UP, self.raft.add_learner(joins, ServerName(server), true)).await;
        match added {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(group = %self.place.group, %joins, %error, "the replica is not admitted yet");
                return;
            }
            Err(_) => {
                tracing::warn!(group = %self.place.group, %joins, "the replica didn't catch up within {CATCH_UP:?}");
                return;
            }
        }
        match self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await {
            Ok(_) => tracing::info!(group = %self.place.group, %joins, ?leaves, "the replica is a voter"),
            Err(error) => {
                tracing::warn!(group = %self.place.group, %joins, %error, "the replica is not a voter yet");
            }
        }
    }
}

/// One replica more, and at most one less.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    joins: ReplicaId,
    server: String,
    leaves: Option<ReplicaId>,
    voters: BTreeSet<ReplicaId>,
}

/// What the leader sees when it looks around.
struct Situation<'a> {
    metrics: &'a RaftMetrics<TypeConfig>,
    /// For how long it has led.
    office: Duration,
    replace_after: Duration,
}

impl Situation<'_> {
    /// For how long a replica hasn't answered; one that never answered this leader, since
    /// that took office.
    fn silence(&self, id: ReplicaId) -> Duration {
        let heard = self.metrics.heartbeat.as_ref().and_then(|heard| heard.get(&id).copied().flatten());
        heard.map_or(self.office, |at| at.elapsed())
    }

    fn alive(&self, id: ReplicaId) -> bool {
        id == self.metrics.id || self.silence(id) < RESTARTED_SILENCE
    }

    /// The next safe admission, if there is one: the replica that leaves has been silent
    /// for long enough, and those that stay are a quorum.
    fn next_change(
        &self,
        candidates: &[Replica],
        instance: impl Fn(ReplicaId) -> Option<String>,
    ) -> Option<Change> {
        let settled =
            self.metrics.committed_membership_config.log_id() == self.metrics.membership_config.log_id();
        if !settled {
            return None;
        }
        let membership = self.metrics.membership_config.membership();
        let voters: BTreeSet<ReplicaId> = membership.voter_ids().collect();
        candidates.iter().filter(|candidate| !voters.contains(&candidate.id)).find_map(|candidate| {
            let holds =
                |(id, name): &(&ReplicaId, &ServerName)| voters.contains(id) && name.0 == candidate.server;
            let leaves = membership.nodes().find(holds).map(|(id, _)| *id);
            if let Some(old) = leaves {
                let restarted = instance(old).is_some_and(|instance| instance != candidate.instance);
                let needed = if restarted { RESTARTED_SILENCE } else { self.replace_after };
                if old == self.metrics.id || self.silence(old) < needed {
                    return None;
                }
            }
            let mut voters: BTreeSet<ReplicaId> =
                voters.iter().copied().filter(|id| Some(*id) != leaves).collect();
            let before = voters.len() + usize::from(leaves.is_some());
            let needed = before / 2 + 1;
            if voters.iter().filter(|id| self.alive(**id)).count() < needed {
                return None;
            }
            voters.insert(candidate.id);
            Some(Change { joins: candidate.id, server: candidate.server.clone(), leaves, voters })
        })
    }
}
