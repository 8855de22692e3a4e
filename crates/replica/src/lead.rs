//! The duties of a leader: founding the group, admitting replacements, and keeping time for idle
//! sessions.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skv_proto::v1;
use skv_sharding::{MapRevision, ReplicaId};
use skv_store::{encode_found, encode_tick};
use tokio::time::Instant;

use crate::handover::HandoverError;
use crate::running::Running;
use crate::situation::{Admission, Situation};

/// The interval at which the leader looks around.
const INTERVAL: Duration = Duration::from_millis(250);
/// The shortest time between two attempts of a leader without room to let others lead.
const MAKE_WAY: Duration = Duration::from_secs(10);

/// The term of a leader.
#[derive(Debug, Clone, Copy)]
struct Reign {
    since: Instant,
    replace_after: Duration,
}

impl Running {
    /// Runs for as long as the replica does; acts only while it leads.
    pub(super) async fn lead(&self, replace_after: Duration) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leads_since = None;
        let mut made_way: Option<Instant> = None;
        let mut last_tried = None;
        // An admission takes as long as the replica takes to get the log. The other duties go on.
        let mut admitting: FuturesUnordered<BoxFuture<'_, Option<ReplicaId>>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(tried) = admitting.next() => {
                    last_tried = tried.or(last_tried);
                    continue;
                }
            }
            if !self.hints.is_leader() {
                leads_since = None;
                admitting.clear();
                continue;
            }
            if self.writes.is_held() {
                continue;
            }
            let since = *leads_since.get_or_insert_with(Instant::now);
            if made_way.is_none_or(|at| at.elapsed() > MAKE_WAY) && self.make_way().await {
                made_way = Some(Instant::now());
                continue;
            }
            if self.store.facts().is_none() {
                let orders = self.orders.current();
                if let Some(founding) = orders.founding {
                    self.commit_founding(founding, orders.revision).await;
                }
                continue;
            }
            if self.store.sessions_due(self.clock.now_ms()) {
                self.members.propose(encode_tick(self.clock.now_ms())).await;
            }
            let reign = Reign { since, replace_after };
            self.tend_members(reign).await;
            let revision = self.orders.revision();
            let mut admissions = if admitting.is_empty() { self.admissions(reign) } else { Vec::new() };
            if !admissions.is_empty() {
                // A replica that can't be admitted doesn't keep the others waiting.
                admissions.sort_by_key(|admission| last_tried == Some(admission.joins));
                admitting.push(Box::pin(self.admit_first(admissions, revision, reign)));
            }
        }
    }

    /// Lets another replica lead if there is no room here, and some where a majority is. Returns true if
    /// that was tried.
    async fn make_way(&self) -> bool {
        let for_the_log = if self.writes.is_full() { self.consensus.roomy_leaders() } else { Vec::new() };
        if !for_the_log.is_empty() {
            let outcome = self.hand_over_to(for_the_log).await;
            self.log_handover("the log", outcome);
            return true;
        }
        let for_memory = self.writes.memory().better_leaders();
        if !for_memory.is_empty() {
            let outcome = self.hand_over_to(for_memory).await;
            self.log_handover("more data in memory", outcome);
            return true;
        }
        false
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

    /// Clears away what is left of changes of members that failed.
    async fn tend_members(&self, reign: Reign) {
        // A removal of a replica goes first.
        let Some(_turn) = self.members.try_turn() else { return };
        let view = self.consensus.view();
        if let Some(voters) = view.members.joint.clone() {
            if view.membership_is_committed {
                self.members.finish_change(voters).await;
            }
            return;
        }
        let Reign { since, replace_after } = reign;
        let situation = Situation { view: &view, leads_for: since.elapsed(), replace_after };
        if let Some(lost) = situation.lost_learner() {
            self.members.forget_learner(lost).await;
        }
    }

    /// Returns the admissions that the managers want, and that are safe now.
    fn admissions(&self, Reign { since, replace_after }: Reign) -> Vec<Admission> {
        let (view, orders) = (self.consensus.view(), self.orders.current());
        let situation = Situation { view: &view, leads_for: since.elapsed(), replace_after };
        let instance = |id| self.map.instance(self.place.group, id);
        situation.admissions(&orders.candidates, orders.known_voters.as_ref(), instance)
    }

    /// Admits the first of these replicas that answers now, and returns it. While it gets the log, members
    /// may change and managers may change their minds: it gets a vote only if it is still wanted then, in
    /// the place of the same other.
    async fn admit_first(
        &self,
        admissions: Vec<Admission>,
        revision: MapRevision,
        reign: Reign,
    ) -> Option<ReplicaId> {
        let admission = self.members.first_in_reach(admissions).await?;
        let joins = admission.joins;
        if !self.members.teach(&admission, revision).await {
            return Some(joins);
        }
        let _turn = self.members.turn().await;
        if self.admissions(reign).contains(&admission) {
            self.members.promote(&admission).await;
        } else {
            tracing::info!(group = %self.place.group, %joins, "the replica has the log, but its place isn't free now");
        }
        // The managers name others for the members that there are now.
        self.orders.report_soon();
        Some(joins)
    }
}
