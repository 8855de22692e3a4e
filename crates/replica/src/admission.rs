//! What only the leader does: founding the group, admitting replacements, and keeping
//! time for idle sessions.
//!
//! A replacement comes from the manager, under a version that the group must not have
//! passed. It joins as a learner, catches up, and takes the place of the replica that the
//! same server held before.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{ChangeMembers, RaftMetrics};
use skv_raft::types::{EncodedEntry, ServerName};
use skv_sharding::{MapRevision, ReplicaId};
use skv_store::{Applied, encode_found, encode_obey, encode_tick};
use tokio::time::Instant;

use super::situation::{Admission, Situation};
use super::{Running, TypeConfig};

/// How often the leader looks around.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a learner may take to catch up before it is tried again.
const CATCH_UP: Duration = Duration::from_mins(2);
/// A leader without disk space lets others try, at most this often: they may have none either.
const MAKE_WAY: Duration = Duration::from_secs(10);
/// A learner that doesn't answer for this long is given up.
const LEARNER_SILENCE: Duration = Duration::from_secs(10);

impl Running {
    /// Runs for as long as the replica does; acts only while it leads.
    pub(super) async fn lead(&self, replace_after: Duration) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leads_since = None;
        let mut made_way: Option<Instant> = None;
        let mut last_tried = None;
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
                        tracing::warn!(group = %self.place.group, %leader, "there is no room for the log: another replica leads")
                    }
                    Err(error) => {
                        tracing::warn!(group = %self.place.group, %error, "there is no room for the log")
                    }
                }
                continue;
            }
            let orders = self.orders.lock().clone();
            if self.store.facts().is_none() {
                if let Some(founding) = orders.founding {
                    tracing::info!(group = %self.place.group, uid = %self.place.uid, "founding the group");
                    match encode_found(self.clock.now_ms(), self.place.cluster, founding, orders.version.0) {
                        Ok(entry) => drop(self.propose_control(entry).await),
                        Err(error) => {
                            tracing::error!(group = %self.place.group, %error, "the manager's record can't be")
                        }
                    }
                }
                continue;
            }
            if self.store.sessions_due(self.clock.now_ms()) {
                self.propose_control(encode_tick(self.clock.now_ms())).await;
            }
            // Whoever removes a replica goes first.
            let Ok(_turn) = self.changing_members.try_lock() else { continue };
            let metrics = self.raft.metrics().borrow_watched().clone();
            if metrics.membership_config.membership().get_joint_config().len() > 1 {
                self.leave_joint(&metrics).await;
                continue;
            }
            let receiving = self.network.receiving();
            let situation = Situation { metrics: &metrics, office, replace_after, receiving };
            if let Some(lost) = situation.lost_learner() {
                self.forget_learner(lost).await;
                continue;
            }
            let mut admissions =
                situation.admissions(&orders.candidates, |id| self.map.instance(self.place.group, id));
            // One that can't be admitted doesn't keep the others waiting.
            admissions.sort_by_key(|admission| last_tried == Some(admission.joins));
            if let Some(admission) = self.first_in_reach(admissions).await {
                last_tried = Some(admission.joins);
                self.admit(admission, orders.version).await;
            }
        }
    }

    /// The first admission of a replica that answers now.
    async fn first_in_reach(&self, admissions: Vec<Admission>) -> Option<Admission> {
        let asked = admissions.into_iter().map(|admission| async move {
            let answers = self.network.reaches(admission.joins, &admission.server).await;
            answers.then_some(admission)
        });
        join_all(asked).await.into_iter().flatten().next()
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

    async fn forget_learner(&self, lost: ReplicaId) {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([lost]));
        match self.raft.change_membership(change, true).await {
            Ok(_) => {
                tracing::info!(group = %self.place.group, replica = %lost, "a silent learner is no member any more")
            }
            Err(error) => {
                tracing::warn!(group = %self.place.group, replica = %lost, %error, "a silent learner is still a member");
            }
        }
    }

    async fn admit(&self, admission: Admission, version: MapRevision) {
        let Admission { joins, server, leaves } = admission;
        // A manager that was restored from an old copy must not undo what a newer one did.
        match self.propose_control(encode_obey(self.clock.now_ms(), version.0)).await {
            Some(Applied::Obeyed { accepted: true, .. }) => {}
            Some(_) => {
                tracing::warn!(group = %self.place.group, %version, "the manager's word is older than the group's; not obeyed");
                return;
            }
            None => return,
        }
        tracing::info!(group = %self.place.group, %joins, ?leaves, server, "admitting a replica");
        let problem = tokio::select! {
            taught = tokio::time::timeout(CATCH_UP, self.teach(joins, server)) => match taught {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(format!("it didn't catch up within {CATCH_UP:?}")),
            },
            () = self.falls_silent(joins) => Some("it fell silent before it had caught up".to_owned()),
        };
        if let Some(problem) = problem {
            tracing::warn!(group = %self.place.group, %joins, problem, "the replica is not admitted yet");
            return;
        }
        // Relative to the membership as it is then: another leader may have changed it meanwhile.
        let mut changes = vec![ChangeMembers::AddVoterIds(BTreeSet::from([joins]))];
        changes.extend(leaves.map(|old| ChangeMembers::RemoveVoters(BTreeSet::from([old]))));
        match self.raft.change_membership(ChangeMembers::Batch(changes), false).await {
            Ok(_) => tracing::info!(group = %self.place.group, %joins, ?leaves, "the replica is a voter"),
            Err(error) => {
                tracing::warn!(group = %self.place.group, %joins, %error, "the replica is not a voter yet");
            }
        }
    }

    /// Adds a learner, and waits until it has the log as it was then.
    async fn teach(&self, joins: ReplicaId, server: String) -> Result<(), String> {
        let added = self.raft.add_learner(joins, ServerName(server), true).await;
        let whole_log = added.map_err(|error| error.to_string())?.log_id.index;
        // openraft is content when a few thousand entries are missing: in a short log, all of them.
        let has_all = |metrics: &RaftMetrics<TypeConfig>| {
            let matched = metrics.replication.as_ref()?.get(&joins)?.as_ref()?;
            (matched.index >= whole_log).then_some(())
        };
        self.await_metrics(CATCH_UP, has_all).await.ok_or_else(|| "it didn't catch up".to_owned())
    }

    /// Waits until a learner hasn't answered for [`LEARNER_SILENCE`].
    async fn falls_silent(&self, learner: ReplicaId) {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let metrics = self.raft.metrics().borrow_watched().clone();
            let situation = Situation {
                metrics: &metrics,
                office: begun.elapsed(),
                replace_after: Duration::MAX,
                receiving: self.network.receiving(),
            };
            if situation.silence(learner).min(begun.elapsed()) >= LEARNER_SILENCE {
                return;
            }
        }
    }
}
