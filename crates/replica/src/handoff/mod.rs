//! The work of a leader by which shards change hands: it commits the manager's list, carries each
//! shard on it to its target, and asks after those that it was promised.
//!
//! Everything that must outlive the leader is in the group's log; the next one goes on from
//! there (`store/handoff`).

pub(crate) mod brake;
mod carry;
pub(crate) mod counters;
pub(crate) mod pace;
pub(crate) mod state;
mod steps;
mod target;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skv_fail_points::fail_point;
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_sharding::{Epoch, ShardId};
use skv_store::{
    Applied, Arrival, Departure, Move, Peer, Progress, ShardState, encode_assign, encode_retire,
};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::environment::Environment;
use crate::handoff::carry::{Carrier, Ended};
use crate::handoff::target::{Group, Groups};
use crate::handoff::watched::Watched;
use crate::running::Running;

/// The interval at which the leader checks what is due.
const INTERVAL: Duration = Duration::from_millis(50);
/// The number of shards that leave a group at the same time. One that waits for its target doesn't
/// count, or a target that is gone would hold up all others; no more are begun that go to that
/// target.
const DEPARTURES: usize = 2;

/// A shard that is being carried.
struct Carried {
    to: Move,
    /// True while it waits for its target.
    stands: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Carried {
    fn stands(&self) -> bool {
        self.stands.load(Ordering::Relaxed)
    }
}

/// Returns true if a move must wait for others. A shard that nobody serves needn't wait, nor one that
/// is elsewhere by the map and must not be served any more, nor one for which all changes are kept.
fn waits(departure: &Departure, is_elsewhere: bool) -> bool {
    departure.progress == Progress::Queued && !is_elsewhere
}

/// Returns true if one more shard may be carried.
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
        let (mut questions, mut groups) = (JoinSet::new(), Groups::default());
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => {}
                // Many small shards don't wait for the next interval.
                Some(Ok(Ended::There)) = carriers.join_next() => {}
            }
            while self.store.free_some() {
                tokio::task::yield_now().await;
            }
            while carriers.try_join_next().is_some() {}
            while questions.try_join_next().is_some() {}
            // A replica that leads by now hears of no entries any more.
            self.writes.memory().settle(None);
            carried.retain(|_, carried| !carried.task.is_finished());
            if !self.hints.is_leader() || self.writes.is_held() {
                carriers.abort_all();
                questions.abort_all();
                groups.clear();
                *self.handoffs.watched.lock() = Watched::default();
                self.handoffs.keep_promises(|_, _| None);
                continue;
            }
            self.handoffs.keep_promises(|shard, epoch| self.arrived(shard, epoch));
            self.obey_list().await;
            if !self.store.is_handing_off() && carried.is_empty() {
                groups.clear();
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
                    let target = groups.get(self, env, Peer { group: to.target, uid: to.target_uid });
                    let carrier = Carrier::new(self.clone(), env, to, target);
                    let stands = carrier.stands();
                    carried.insert(to.shard, Carried { to, stands, task: carriers.spawn(carrier.run()) });
                }
            }
            let still = self.handoffs.watched.lock().still(self.store.arrivals(), Instant::now());
            for arrival in still {
                let source = groups.get(self, env, arrival.source);
                let (this, env) = (self.clone(), env.clone());
                questions.spawn(async move { this.ask_after(&env, &source, arrival).await });
            }
        }
    }

    /// Ends a group that has nothing of any shard, for good.
    pub async fn retire(&self) -> Result<(), Error> {
        match self.propose(encode_retire(self.clock.now_ms())).await? {
            Applied::Retired(true) => {
                tracing::info!(group = %self.place.group, "the group is retired");
                self.orders.report_soon();
                Ok(())
            }
            Applied::Retired(false) => {
                let stats = self.store.stats();
                Err(Error::Unavailable(format!(
                    "{} owns {} shards and receives {}: have it leave, and wait until all have gone",
                    self.place.group,
                    stats.owned(),
                    stats.of(ShardState::Arriving)
                )))
            }
            other => Err(Error::Internal(format!("a retirement was applied as {other}"))),
        }
    }

    /// Commits the manager's list, if there is anything new in it.
    async fn obey_list(&self) {
        let orders = self.orders.current();
        if orders.revision < self.store.obeyed_revision() {
            return; // It would be refused, and stand in the log for nothing.
        }
        let Some(moves) = orders.moves.filter(|moves| self.store.would_assign(moves)) else { return };
        let entry = encode_assign(self.clock.now_ms(), orders.revision, moves);
        fail_point!("list-due");
        match self.propose(entry).await {
            Ok(Applied::Assigned { accepted: true, frozen, .. }) => {
                fail_point!("list-applied");
                // Moves that were taken back are over.
                self.orders.report_soon();
                tracing::info!(group = %self.place.group, revision = %orders.revision, "the list of moves is obeyed");
                for Move { shard, target, .. } in frozen {
                    tracing::info!(group = %self.place.group, %shard, %target, "the move can't be changed any more");
                }
            }
            Ok(_) => {
                tracing::warn!(group = %self.place.group, revision = %orders.revision, "the manager's list is older than the group's; not obeyed");
            }
            Err(error) => {
                tracing::warn!(group = %self.place.group, %error, "the list of moves isn't committed yet");
            }
        }
    }

    /// Returns the memory that the parts of a shard take that have come; `None` if it doesn't come.
    fn arrived(&self, shard: ShardId, epoch: Epoch) -> Option<u64> {
        let is_it = |arrival: &Arrival| (arrival.shard, arrival.epoch) == (shard, epoch);
        self.store.arrivals().iter().any(is_it).then(|| self.store.memory_of(shard))
    }

    /// Forgets the parts of a shard that came, if its source has given that move up, or their copy.
    async fn ask_after(
        &self,
        env: &Arc<Environment>,
        group: &Group,
        Arrival { shard, epoch, source, .. }: Arrival,
    ) {
        let answer = group.is_leaving(shard, epoch).await;
        let is_over = match &answer {
            Ok(answer) => !answer.leaving,
            // A source that is gone can't report it; the map that has the shard elsewhere is proof
            // enough.
            Err(_) => env.map.owner(shard).is_some_and(|owner| {
                owner.group != source.group && owner.group != self.place.group && owner.epoch >= epoch
            }),
        };
        if is_over {
            tracing::info!(group = %self.place.group, %shard, "its source has given the move up");
            let _ = self.take_own_step(shard, epoch, Step::Abort(v1::handoff_step::Abort {})).await;
        } else if answer.is_ok_and(|answer| answer.begins_anew)
            && !self.handoffs.has_promise(shard, epoch)
            && self.store.memory_of(shard) > 0
        {
            // The source can't have begun another copy meanwhile: for that it needs a promise of this leader.
            tracing::info!(group = %self.place.group, %shard, "its source has given the copy up: what came of it is let go");
            let _ = self.take_own_step(shard, epoch, Step::Chunk(v1::handoff_step::Chunk::default())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use skv_sharding::{Epoch, GroupId, GroupUid};

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
