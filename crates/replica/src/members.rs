//! Changes of a group's members, one at a time: admissions, and what is left of those that failed.
//!
//! A replacement comes from the manager, under a revision of the map that the group must not have passed. It joins
//! as a learner, catches up, and takes the place of the replica that the same server held before.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use skv_disk::clock::Clock;
use skv_log::Space;
use skv_raft::Consensus;
use skv_raft::header::Place;
use skv_sharding::{MapRevision, ReplicaId};
use skv_store::{Applied, encode_obey};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::situation::{Admission, Situation};

/// The interval at which a learner is checked that catches up.
const INTERVAL: Duration = Duration::from_millis(250);
/// The longest time in which a learner catches up before it is tried again.
const CATCH_UP: Duration = Duration::from_mins(2);
/// The longest time for which a control entry is waited for.
const COMMIT: Duration = Duration::from_secs(10);
/// The time without an answer after which a learner is given up.
const LEARNER_SILENCE: Duration = Duration::from_secs(10);

/// Changes of a group's members.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) place: Place,
    pub(crate) consensus: Consensus,
    pub(crate) clock: Clock,
    /// The room in the log.
    pub(crate) space: Space,
    /// Held while members change, each time within limits, and not while a learner gets the log.
    pub(crate) turn: Mutex<()>,
}

impl Changes {
    /// Begins a change, unless another one isn't over.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// Begins a change as soon as no other is under way.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Returns the first admission of a replica that answers now.
    pub(super) async fn first_in_reach(&self, admissions: Vec<Admission>) -> Option<Admission> {
        let asked = admissions.into_iter().map(|admission| async move {
            let answers = self.consensus.reaches(admission.joins, &admission.server).await;
            answers.then_some(admission)
        });
        join_all(asked).await.into_iter().flatten().next()
    }

    /// Proposes an entry that nobody waits for. Without room in the log it has to wait: what is set aside
    /// there is for elections, and these entries would come again and again while the disk is full.
    pub(super) async fn propose(&self, entry: bytes::Bytes) -> Option<Applied> {
        let _room = match self.space.reserve(entry.len()).await {
            Ok(room) => room,
            Err(error) => {
                tracing::debug!(group = %self.place.group, %error, "a control entry waits for room in the log");
                return None;
            }
        };
        match tokio::time::timeout(COMMIT, self.consensus.propose(entry)).await {
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

    /// Makes a replica a learner, and waits until it has the log. Returns true if it has.
    pub(super) async fn teach(&self, admission: &Admission, revision: MapRevision) -> bool {
        let Admission { joins, server, leaves } = admission;
        let (group, joins) = (self.place.group, *joins);
        let Some(turn) = self.try_turn() else { return false };
        // A manager that was restored from an old copy must not undo what a newer one did.
        match self.propose(encode_obey(self.clock.now_ms(), revision)).await {
            Some(Applied::Obeyed { accepted: true, .. }) => {}
            Some(_) => {
                tracing::warn!(%group, %revision, "the manager's list is older than the group's; not obeyed");
                return false;
            }
            None => return false,
        }
        tracing::info!(%group, %joins, ?leaves, server, "admitting a replica");
        let added = self.consensus.add_learner(joins, server.clone()).await;
        drop(turn);
        let problem = match added {
            Ok(added) => tokio::select! {
                caught_up = self.catches_up(joins, added) => {
                    (!caught_up).then(|| format!("it didn't catch up within {CATCH_UP:?}"))
                }
                () = self.falls_silent(joins) => Some("it fell silent before it had caught up".to_owned()),
            },
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem {
            tracing::warn!(%group, %joins, problem, "the replica is not admitted yet");
        }
        problem.is_none()
    }

    /// Gives a learner its vote, and takes the one whose place it has out of the group.
    pub(super) async fn promote(&self, Admission { joins, leaves, .. }: &Admission) {
        let (group, joins, leaves) = (self.place.group, *joins, *leaves);
        match self.consensus.promote(joins, leaves).await {
            Ok(_) => tracing::info!(%group, %joins, ?leaves, "the replica is a voter"),
            Err(error) => tracing::warn!(%group, %joins, %error, "the replica is not a voter yet"),
        }
    }

    /// Waits until a learner has the log as it was when it had caught up with the entry that `added` it:
    /// the first takes as long as a snapshot, and much may have been written meanwhile.
    async fn catches_up(&self, learner: ReplicaId, added: u64) -> bool {
        let mut target = added;
        let mut first = true;
        let caught_up = self.consensus.await_view(CATCH_UP, |view| {
            let has = |target| view.matched(learner) >= Some(target);
            if first && has(target) {
                first = false;
                target = view.last_log.unwrap_or(target);
            }
            (!first && has(target)).then_some(())
        });
        caught_up.await.is_some()
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
