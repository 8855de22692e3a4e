//! What a leader does so that shards change hands: it commits the manager's list, carries
//! each shard on it to its target, and asks after those that it was promised.
//!
//! Everything that must outlive the leader is in the group's log; the next one goes on from
//! there (`store/handoff`).

mod carry;
mod counters;
mod pace;
mod target;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use skv_fail_points::fail_point;
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_raft::types::EncodedEntry;
use skv_sharding::{Epoch, ShardId};
use skv_store::{
    Applied, Arrival, Departure, HandoffStep, Move, Part, Progress, StepRefusal, encode_assign,
    encode_handoff, encode_retire,
};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Environment, Running};
use crate::no_room;
use carry::{Carrier, Ended};
pub use counters::HandoffCounters;
pub use pace::{Pace, Slowed};
use target::Group;
pub(super) use watched::Watched;

/// How often the leader looks what is due.
const INTERVAL: Duration = Duration::from_millis(50);
/// Shards that leave a group at the same time. One that waits for its target doesn't count, or a
/// target that is gone would hold up all others; no more are begun that go to that target.
const DEPARTURES: usize = 2;
/// Shards that come to a group at the same time. More than leave one, so that two sources
/// needn't wait for each other. One that stands still doesn't count, or a source that is gone
/// would hold up all others.
const ARRIVALS: usize = 4;
/// An entry that isn't applied in this time has an unknown outcome.
const DEADLINE: Duration = Duration::from_secs(5);

/// A shard that is being carried.
struct Carried {
    to: Move,
    /// Whether it waits for its target.
    stands: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Carried {
    fn stands(&self) -> bool {
        self.stands.load(Ordering::Relaxed)
    }
}

/// Whether a move has to wait for others. What nobody serves doesn't, nor what is elsewhere by the
/// map and must not be served any more, nor that for which all changes are kept.
fn waits(departure: &Departure, is_elsewhere: bool) -> bool {
    departure.progress == Progress::Queued && !is_elsewhere
}

/// Whether one more shard may be carried.
fn may_begin(departure: &Departure, waits: bool, carried: &BTreeMap<ShardId, Carried>) -> bool {
    let moving = carried.values().filter(|other| !other.stands()).count();
    let mut standing = carried.values().filter(|other| other.stands());
    !waits || moving < DEPARTURES && standing.all(|other| other.to.target_uid != departure.to.target_uid)
}

impl Running {
    /// Runs for as long as the replica does; acts only while it leads.
    pub(super) async fn hand_off(self: &Arc<Self>, env: &Arc<Environment>) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut carried, mut carriers) = (BTreeMap::<ShardId, Carried>::new(), JoinSet::new());
        let mut questions = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => {}
                // Many small shards don't wait for the time of the next look.
                Some(Ok(Ended::There)) = carriers.join_next() => {}
            }
            while self.store.clear_rubble() {
                tokio::task::yield_now().await;
            }
            while carriers.try_join_next().is_some() {}
            while questions.try_join_next().is_some() {}
            carried.retain(|_, carried| !carried.task.is_finished());
            if !self.hints.is_leader() || *self.hold.borrow() {
                carriers.abort_all();
                questions.abort_all();
                *self.watched.lock() = Watched::default();
                continue;
            }
            self.obey_list().await;
            if !self.store.is_handing_off() && carried.is_empty() {
                continue;
            }
            let is_elsewhere = |to: &Move| carry::recorded_owner(self, env, to).is_some();
            let departures = self.store.departures().into_iter();
            let mut departures: Vec<(bool, Departure)> = departures
                .map(|departure| (waits(&departure, is_elsewhere(&departure.to)), departure))
                .collect();
            departures.sort_by_key(|(waits, _)| *waits);
            carried.retain(|_, Carried { to, task, .. }| {
                let still = departures.iter().any(|(_, departure)| departure.to == *to);
                if !still {
                    task.abort();
                }
                still
            });
            for (waits, departure) in departures {
                let to = departure.to;
                if !carried.contains_key(&to.shard) && may_begin(&departure, waits, &carried) {
                    let carrier = Carrier::new(self.clone(), env, to);
                    let stands = carrier.stands();
                    carried.insert(to.shard, Carried { to, stands, task: carriers.spawn(carrier.run()) });
                }
            }
            let still = self.watched.lock().still(self.store.arrivals(), Instant::now());
            for arrival in still {
                let (this, env) = (self.clone(), env.clone());
                questions.spawn(async move { this.ask_after(&env, arrival).await });
            }
        }
    }

    /// Takes a step of a handoff by the group's log.
    pub async fn take_step(&self, step: HandoffStep) -> Result<Result<(), StepRefusal>, Error> {
        self.check_leads()?;
        let (shard, epoch) = (step.shard(), step.epoch());
        if matches!(step.step(), Step::Receive(_)) && !self.has_promised(shard, epoch) {
            let others = self.store.arrivals().into_iter().filter(|arrival| arrival.shard != shard);
            if self.watched.lock().progressing(others, Instant::now()) >= ARRIVALS {
                return Ok(Err(StepRefusal::Busy));
            }
        }
        let step_name = name(step.step());
        let changes_owner = matches!(step.step(), Step::Install(_) | Step::Drop(_));
        fail_point!("{step_name}-due");
        match self.propose(encode_handoff(self.clock.now_ms(), step)).await? {
            Applied::Handoff(outcome) => {
                fail_point!("{step_name}-applied");
                if changes_owner {
                    self.news.notify_one();
                }
                Ok(outcome)
            }
            other => Err(Error::Internal(format!("a step was applied as {other}"))),
        }
    }

    /// Takes a step that the group's own leader thought of.
    async fn take_own_step(
        &self,
        shard: ShardId,
        epoch: Epoch,
        step: Step,
    ) -> Result<Result<(), StepRefusal>, Error> {
        let step = v1::HandoffStep { shard: shard.0, epoch: epoch.0, step: Some(step) };
        match HandoffStep::try_from(step) {
            Ok(step) => self.take_step(step).await,
            Err(_) => Ok(Err(StepRefusal::Malformed)),
        }
    }

    /// Whether the group receives the shard already, or has it: then nobody may serve it elsewhere.
    fn has_promised(&self, shard: ShardId, epoch: Epoch) -> bool {
        let arrivals = self.store.arrivals();
        arrivals.iter().any(|arrival| arrival.shard == shard && arrival.epoch == epoch)
            || self.store.owns(shard).is_some_and(|owned| owned >= epoch)
    }

    /// Ends a group that has nothing of any shard, for good.
    pub async fn retire(&self) -> Result<(), Error> {
        match self.propose(encode_retire(self.clock.now_ms())).await? {
            Applied::Retired(true) => {
                tracing::info!(group = %self.place.group, "the group is retired");
                self.news.notify_one();
                Ok(())
            }
            Applied::Retired(false) => {
                let stats = self.store.stats();
                Err(Error::Unavailable(format!(
                    "{} owns {} shards and receives {}: have it leave, and wait until all have gone",
                    self.place.group,
                    stats.owned(),
                    stats.of(Part::Arriving)
                )))
            }
            other => Err(Error::Internal(format!("a retirement was applied as {other}"))),
        }
    }

    /// Commits the manager's list, if it says something new.
    async fn obey_list(&self) {
        let orders = self.orders.lock().clone();
        if orders.version.0 < self.store.obeyed_version() {
            return; // It would be refused, and stand in the log for nothing.
        }
        let Some(moves) = orders.moves.filter(|moves| self.store.would_assign(moves)) else { return };
        let entry = encode_assign(self.clock.now_ms(), orders.version.0, moves);
        fail_point!("list-due");
        match self.propose(entry).await {
            Ok(Applied::Assigned { accepted: true, frozen, .. }) => {
                fail_point!("list-applied");
                // Moves that were taken back are over.
                self.news.notify_one();
                tracing::info!(group = %self.place.group, version = %orders.version, "the list of moves is obeyed");
                for Move { shard, target, .. } in frozen {
                    tracing::info!(group = %self.place.group, %shard, %target, "the move can't be changed any more");
                }
            }
            Ok(_) => {
                tracing::warn!(group = %self.place.group, version = %orders.version, "the manager's list is older than the group's; not obeyed");
            }
            Err(error) => {
                tracing::warn!(group = %self.place.group, %error, "the list of moves isn't committed yet");
            }
        }
    }

    /// Forgets what came of a shard, if its source has given that move up.
    async fn ask_after(&self, env: &Arc<Environment>, Arrival { shard, epoch, source, .. }: Arrival) {
        let is_over = match Group::new(self, env, source).is_leaving(shard, epoch).await {
            Ok(leaving) => !leaving,
            // A source that is gone can't say so; that the shard is elsewhere says as much.
            Err(_) => env.map.owner(shard).is_some_and(|owner| {
                owner.group != source.group && owner.group != self.place.group && owner.epoch >= epoch
            }),
        };
        if is_over {
            tracing::info!(group = %self.place.group, %shard, "its source has given the move up");
            let _ = self.take_own_step(shard, epoch, Step::Abort(v1::handoff_step::Abort {})).await;
        }
    }

    fn check_leads(&self) -> Result<(), Error> {
        if !self.hints.is_leader() || *self.hold.borrow() {
            return Err(self.hints.not_leader(None));
        }
        // Each attempt would stay in the log, and none be committed.
        if !self.has_quorum() {
            return Err(Error::Unavailable(format!("{} has no quorum", self.place.group)));
        }
        Ok(())
    }

    /// Proposes an entry with room in the log, and waits until it is applied.
    async fn propose(&self, entry: Bytes) -> Result<Applied, Error> {
        self.check_leads()?;
        let _reservation = self.space.reserve(entry.len()).await.map_err(no_room)?;
        let unknown = |reason: String| Error::OutcomeUnknown(reason);
        match tokio::time::timeout(DEADLINE, self.raft.client_write(EncodedEntry(entry))).await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(error)) => match error.forward_to_leader() {
                Some(forward) => Err(self.hints.not_leader(forward.leader_id)),
                None => Err(unknown(error.to_string())),
            },
            Err(_) => Err(unknown(format!("not applied within {DEADLINE:?}"))),
        }
    }
}

/// What a step is called in logs and fail points.
fn name(step: &Step) -> &'static str {
    match step {
        Step::Begin(_) => "begin",
        Step::Pause(_) => "pause",
        Step::Receive(_) => "receive",
        Step::Chunk(_) => "chunk",
        Step::Freeze(_) => "freeze",
        Step::Install(_) => "install",
        Step::Drop(_) => "drop",
        Step::Abort(_) => "abort",
    }
}

#[cfg(test)]
mod tests {
    use skv_sharding::{GroupId, GroupUid};

    use super::*;

    fn departure(shard: u32, target: u32, progress: Progress) -> Departure {
        let (target, target_uid) = (GroupId(target), GroupUid(u64::from(target) + 70));
        Departure { to: Move { shard: ShardId(shard), epoch: Epoch(2), target, target_uid }, progress }
    }

    #[tokio::test]
    async fn a_target_that_is_waited_for_keeps_no_shard_from_another_target() {
        let mut carried = BTreeMap::new();
        let mut carry = |shard, target, stands: bool| {
            let to = departure(shard, target, Progress::Copying).to;
            let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
            carried.insert(ShardId(shard), Carried { to, stands: Arc::new(stands.into()), task });
            let may = |target, progress| {
                let departure = departure(9, target, progress);
                may_begin(&departure, waits(&departure, false), &carried)
            };
            (may(1, Progress::Queued), may(2, Progress::Queued), may(1, Progress::Frozen))
        };
        assert_eq!(carry(1, 1, true), (false, true, true), "g1 is waited for");
        assert_eq!(carry(2, 1, true), (false, true, true), "twice");
        assert_eq!(carry(3, 2, false), (false, true, true));
        assert_eq!(carry(4, 2, false), (false, false, true), "two are under way");
    }

    #[test]
    fn what_has_begun_and_what_is_elsewhere_by_the_map_wait_for_nothing() {
        let all = [Progress::Queued, Progress::Copying, Progress::Frozen];
        let all = all.map(|progress| departure(1, 1, progress));
        assert_eq!(all.map(|departure| waits(&departure, false)), [true, false, false]);
        assert_eq!(all.map(|departure| waits(&departure, true)), [false; 3]);
    }
}
