//! What a leader does so that shards change hands: it commits the manager's list, carries
//! each shard on it to its target, and asks after those that it was promised.
//!
//! Everything that must outlive the leader is in the group's log; the next one goes on from
//! there (`store/handoff`).

mod carry;
mod pace;
mod target;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skv_fail_points::fail_point;
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_sharding::{Epoch, ShardId};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Environment, Running};
use crate::raft::types::EncodedEntry;
use crate::store::{
    Applied, Arrival, Departure, Move, Part, Progress, StepRefusal, encode_assign, encode_handoff,
    encode_retire,
};
use carry::{Carrier, Ended};
pub use pace::{Pace, Slowed};
use target::Group;
pub(super) use watched::Watched;

/// How often the leader looks what is due.
const INTERVAL: Duration = Duration::from_millis(50);
/// Shards that leave a group at the same time.
const DEPARTURES: usize = 2;
/// Shards that come to a group at the same time. More than leave one, so that two sources
/// needn't wait for each other. One that stands still doesn't count, or a source that is gone
/// would hold up all others.
const ARRIVALS: usize = 4;
/// An entry that isn't applied in this time has an unknown outcome.
const DEADLINE: Duration = Duration::from_secs(5);

impl Running {
    /// Runs for as long as the replica does; acts only while it leads.
    pub(super) async fn hand_off(self: &Arc<Self>, env: &Arc<Environment>) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut carried, mut carriers) = (BTreeMap::<ShardId, (Move, AbortHandle)>::new(), JoinSet::new());
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
            carried.retain(|_, (_, carrier)| !carrier.is_finished());
            if !self.hints.is_leader() || *self.hold.borrow() {
                carriers.abort_all();
                *self.watched.lock() = Watched::default();
                continue;
            }
            self.obey_list().await;
            if !self.store.is_handing_off() && carried.is_empty() {
                continue;
            }
            let mut departures = self.store.departures();
            // What nobody serves comes first.
            departures.sort_by_key(|departure| departure.progress != Progress::Frozen);
            carried.retain(|shard, (to, carrier)| {
                let still = departures.iter().any(|departure| departure.to == *to && to.shard == *shard);
                if !still {
                    carrier.abort();
                }
                still
            });
            for Departure { to, .. } in departures {
                if carried.len() < DEPARTURES && !carried.contains_key(&to.shard) {
                    let carrier = Carrier::new(self.clone(), env, to);
                    carried.insert(to.shard, (to, carriers.spawn(carrier.run())));
                }
            }
            let still = self.watched.lock().still(self.store.arrivals(), Instant::now());
            for arrival in still {
                self.ask_after(env, arrival).await;
            }
        }
    }

    /// Takes a step of a handoff by the group's log.
    pub async fn take_step(
        &self,
        shard: ShardId,
        epoch: Epoch,
        step: Step,
    ) -> Result<Result<(), StepRefusal>, Error> {
        self.check_leads()?;
        if matches!(step, Step::Receive(_)) {
            let others = self.store.arrivals().into_iter().filter(|arrival| arrival.shard != shard);
            if self.watched.lock().progressing(others, Instant::now()) >= ARRIVALS {
                return Ok(Err(StepRefusal::Busy));
            }
        }
        let (step_name, changes_owner) = (name(&step), matches!(step, Step::Install(_) | Step::Drop(_)));
        fail_point!("{step_name}-due");
        match self.propose(encode_handoff(self.clock.now_ms(), shard, epoch, step)).await? {
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
        let Some(moves) = orders.moves.filter(|moves| self.store.would_assign(moves)) else { return };
        let entry = encode_assign(self.clock.now_ms(), orders.version.0, moves);
        fail_point!("list-due");
        match self.propose(entry).await {
            Ok(Applied::Assigned { accepted: true, frozen, .. }) => {
                fail_point!("list-applied");
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
        let leaving = Group::new(self, env, source).is_leaving(shard, epoch).await;
        if leaving == Ok(false) {
            tracing::info!(group = %self.place.group, %shard, "its source has given the move up");
            let _ = self.take_step(shard, epoch, Step::Abort(v1::handoff_step::Abort {})).await;
        }
    }

    fn check_leads(&self) -> Result<(), Error> {
        if !self.hints.is_leader() || *self.hold.borrow() {
            return Err(self.hints.not_leader(None));
        }
        Ok(())
    }

    /// Proposes an entry with room in the log, and waits until it is applied.
    async fn propose(&self, entry: Bytes) -> Result<Applied, Error> {
        self.check_leads()?;
        let _reservation = self.space.reserve(entry.len()).await?;
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
        Step::Receive(_) => "receive",
        Step::Chunk(_) => "chunk",
        Step::Freeze(_) => "freeze",
        Step::Install(_) => "install",
        Step::Drop(_) => "drop",
        Step::Abort(_) => "abort",
    }
}
