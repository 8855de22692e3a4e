//! Changes of a group's members, one at a time: admissions, and what is left of those that failed.
//!
//! A replacement comes from the manager, under a revision of the map that the group must not have passed. It joins
//! as a learner, catches up, and takes the place of the replica that the same server held before.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use skv_disk::clock::Clock;
use skv_raft::header::Place;
use skv_raft::{Consensus, RaftView};
use skv_sharding::{MapRevision, ReplicaId};
use skv_store::{Applied, encode_obey};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::situation::{Admission, Situation};

/// The interval at which a learner is checked that catches up.
const INTERVAL: Duration = Duration::from_millis(250);
/// The longest time in which a learner catches up before it is tried again.
const CATCH_UP: Duration = Duration::from_mins(2);
/// The time without an answer after which a learner is given up.
const LEARNER_SILENCE: Duration = Duration::from_secs(10);

/// Changes of a group's members.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) place: Place,
    pub(crate) consensus: Consensus,
    pub(crate) clock: Clock,
    /// Held while members change.
    pub(crate) turn: Mutex<()>,
}

impl Changes {
    /// Begins a change, unless another one isn't over.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// Returns the first admission of a replica that answers now.
    pub(super) async fn first_in_reach(&self, admissions: Vec<Admission>) -> Option<Admission> {
        let asked = admissions.into_iter().map(|admission| async move {
            let answers = self.consensus.reaches(admission.joins, &admission.server).await;
            answers.then_some(admission)
        });
        join_all(asked).await.into_iter().flatten().next()
    }

    pub(super) async fn propose(&self, entry: bytes::Bytes) -> Option<Applied> {
        match tokio::time::timeout(CATCH_UP, self.consensus.propose(entry)).await {
            Ok(Ok(applied)) => Some(applied),
            Ok(Err(error)) => {
                tracing::warn!(group = %self.place.group, %error, "a control entry was not applied; it will be tried again");
                None
            }
            Err(_) => None,
        }
    }

    /// Finishes a change whose leader died half way, by issuing its end again.
    pub(super) async fn finish_change(&self, voters: BTreeSet<ReplicaId>) {
        tracing::info!(group = %self.place.group, target = ?voters, "finishing a change of members");
        if let Err(error) = self.consensus.finish_change(voters).await {
            tracing::warn!(group = %self.place.group, %error, "the change of members isn't finished yet");
        }
    }

    pub(super) async fn forget_learner(&self, lost: ReplicaId) {
        match self.consensus.forget(lost).await {
            Ok(_) => {
                tracing::info!(group = %self.place.group, replica = %lost, "a silent learner is no member any more");
            }
            Err(error) => {
                tracing::warn!(group = %self.place.group, replica = %lost, %error, "a silent learner is still a member");
            }
        }
    }

    pub(super) async fn admit(&self, admission: Admission, revision: MapRevision) {
        let Admission { joins, server, leaves } = admission;
        // A manager that was restored from an old copy must not undo what a newer one did.
        match self.propose(encode_obey(self.clock.now_ms(), revision)).await {
            Some(Applied::Obeyed { accepted: true, .. }) => {}
            Some(_) => {
                tracing::warn!(group = %self.place.group, %revision, "the manager's list is older than the group's; not obeyed");
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
        match self.consensus.promote(joins, leaves).await {
            Ok(_) => tracing::info!(group = %self.place.group, %joins, ?leaves, "the replica is a voter"),
            Err(error) => {
                tracing::warn!(group = %self.place.group, %joins, %error, "the replica is not a voter yet");
            }
        }
    }

    /// Adds a learner, and waits until it has the log as it was then.
    async fn teach(&self, joins: ReplicaId, server: String) -> Result<(), String> {
        let added = self.consensus.add_learner(joins, server).await;
        let whole_log = added.map_err(|error| error.to_string())?;
        // openraft is content when a few thousand entries are missing: in a short log, all of them.
        let has_all = |view: &RaftView| (view.matched(joins) >= Some(whole_log)).then_some(());
        let caught_up = self.consensus.await_view(CATCH_UP, has_all).await;
        caught_up.ok_or_else(|| "it didn't catch up".to_owned())
    }

    /// Waits until a learner hasn't answered for [`LEARNER_SILENCE`].
    async fn falls_silent(&self, learner: ReplicaId) {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let view = self.consensus.view();
            let leads_for = begun.elapsed();
            let situation = Situation { view: &view, leads_for, replace_after: Duration::MAX };
            if situation.silence(learner).min(begun.elapsed()) >= LEARNER_SILENCE {
                return;
            }
        }
    }
}
