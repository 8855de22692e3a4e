//! The duties of a leader: founding the group, admitting replacements, and keeping time for idle
//! sessions.

use std::time::Duration;

use skv_proto::v1;
use skv_sharding::{MapRevision, ReplicaId};
use skv_store::{encode_found, encode_tick};
use tokio::time::Instant;

use crate::handover::HandoverError;
use crate::orders::Orders;
use crate::running::Running;
use crate::situation::Situation;

/// The interval at which the leader looks around.
const INTERVAL: Duration = Duration::from_millis(250);
/// The shortest time between two attempts of a leader without room to let others lead: they may have
/// none either.
const MAKE_WAY: Duration = Duration::from_secs(10);

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
            if !self.hints.is_leader() || self.writes.is_held() {
                leads_since = None;
                continue;
            }
            let leads_for = leads_since.get_or_insert_with(Instant::now).elapsed();
            if self.writes.is_full() && made_way.is_none_or(|at| at.elapsed() > MAKE_WAY) {
                made_way = Some(Instant::now());
                let outcome = self.hand_over(None).await;
                self.log_handover("the log", outcome);
                continue;
            }
            let better = self.writes.memory().better_leaders();
            if !better.is_empty() && made_way.is_none_or(|at| at.elapsed() > MAKE_WAY) {
                made_way = Some(Instant::now());
                let outcome = self.hand_over_to(better).await;
                self.log_handover("more data in memory", outcome);
                continue;
            }
            let orders = self.orders.current();
            if self.store.facts().is_none() {
                if let Some(founding) = orders.founding {
                    self.commit_founding(founding, orders.revision).await;
                }
                continue;
            }
            if self.store.sessions_due(self.clock.now_ms()) {
                self.members.propose(encode_tick(self.clock.now_ms())).await;
            }
            // A removal of a replica goes first.
            let Some(_turn) = self.members.try_turn() else { continue };
            let view = self.consensus.view();
            if let Some(voters) = view.members.joint.clone() {
                if view.membership_is_committed {
                    self.members.finish_change(voters).await;
                }
                continue;
            }
            let situation = Situation { view: &view, leads_for, replace_after };
            if let Some(lost) = situation.lost_learner() {
                self.members.forget_learner(lost).await;
                continue;
            }
            last_tried = self.admit_first(&situation, &orders, last_tried).await.or(last_tried);
        }
    }

    /// Logs the outcome of a handover of the leadership for want of room.
    fn log_handover(&self, for_what: &str, outcome: Result<ReplicaId, HandoverError>) {
        let group = self.place.group;
        match outcome {
            Ok(leader) => {
                tracing::warn!(%group, %leader, "there is no room for {for_what}: another replica leads");
            }
            Err(error) => tracing::warn!(%group, %error, "there is no room for {for_what}"),
        }
    }

    async fn commit_founding(&self, record: v1::BootstrapRecord, revision: MapRevision) {
        let group = self.place.group;
        tracing::info!(%group, uid = %self.place.uid, "founding the group");
        match encode_found(self.clock.now_ms(), self.place.cluster, record, revision) {
            Ok(entry) => drop(self.members.propose(entry).await),
            Err(error) => tracing::error!(%group, %error, "the manager's record is invalid"),
        }
    }

    /// Admits the first replica that may join and answers now, and returns it.
    async fn admit_first(
        &self,
        situation: &Situation<'_>,
        orders: &Orders,
        last_tried: Option<ReplicaId>,
    ) -> Option<ReplicaId> {
        let instance = |id| self.map.instance(self.place.group, id);
        let known_voters = orders.known_voters.as_ref();
        let mut admissions = situation.admissions(&orders.candidates, known_voters, instance);
        // A replica that can't be admitted doesn't keep the others waiting.
        admissions.sort_by_key(|admission| last_tried == Some(admission.joins));
        let admission = self.members.first_in_reach(admissions).await?;
        let joins = admission.joins;
        self.members.admit(admission, orders.revision).await;
        // The managers name others for the members that there are now.
        self.orders.report_soon();
        Some(joins)
    }
}
