//! The steps of handoffs that a leader takes in its own group, each by an entry of the group's log.

use std::time::Duration;

use bytes::Bytes;
use skv_fail_points::fail_point;
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_sharding::{Epoch, ShardId};
use skv_store::{Applied, HandoffStep, StepRefusal, encode_handoff};
use tokio::time::Instant;

use crate::propose::not_applied;
use crate::running::Running;

/// The number of shards that come to a group at the same time. It is higher than the number of those
/// that leave, so that two sources needn't wait for each other. A stalled shard doesn't count, or a
/// source that is gone would hold up all others.
const ARRIVALS: usize = 4;
/// The time after which an entry that isn't applied has an unknown outcome.
const DEADLINE: Duration = Duration::from_secs(5);

impl Running {
    /// Refuses a step of another group's handoff for which the group has no room in memory. What was
    /// promised stays promised, and a step for which nobody serves the shard never waits.
    pub fn admit_step(&self, step: &HandoffStep, memory_bytes: u64) -> Result<(), Error> {
        self.check_leads()?;
        let is_promised = self.has_promised(step.shard(), step.epoch());
        if waits_for_room(step.step(), is_promised, memory_bytes) {
            self.writes.memory().admit_bytes(memory_bytes)
        } else {
            Ok(())
        }
    }

    /// Takes a step of a handoff by the group's log.
    pub async fn take_step(&self, step: HandoffStep) -> Result<Result<(), StepRefusal>, Error> {
        self.check_leads()?;
        let (shard, epoch) = (step.shard(), step.epoch());
        if matches!(step.step(), Step::Receive(_)) && !self.has_promised(shard, epoch) {
            let others = self.store.arrivals().into_iter().filter(|arrival| arrival.shard != shard);
            if self.handoffs.watched.lock().progressing(others, Instant::now()) >= ARRIVALS {
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
                    self.orders.report_soon();
                }
                Ok(outcome)
            }
            other => Err(Error::Internal(format!("a step was applied as {other}"))),
        }
    }

    /// Takes a step that the group's own leader decided on.
    pub(super) async fn take_own_step(
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

    /// Returns true if the group receives the shard already, or has it: then no other group may
    /// serve it.
    fn has_promised(&self, shard: ShardId, epoch: Epoch) -> bool {
        let arrivals = self.store.arrivals();
        arrivals.iter().any(|arrival| arrival.shard == shard && arrival.epoch == epoch)
            || self.store.owns(shard).is_some_and(|owned| owned >= epoch)
    }

    pub(super) fn check_leads(&self) -> Result<(), Error> {
        if !self.hints.is_leader() || self.writes.is_held() {
            return Err(self.hints.not_leader(None));
        }
        // Each attempt would stay in the log, and none be committed.
        if !self.has_quorum() {
            return Err(Error::Unavailable(format!("{} has no quorum", self.place.group)));
        }
        Ok(())
    }

    /// Proposes an entry with room in the log, and waits until it is applied.
    pub(super) async fn propose(&self, entry: Bytes) -> Result<Applied, Error> {
        self.check_leads()?;
        let _reservation = self.writes.reserve(entry.len()).await?;
        match tokio::time::timeout(DEADLINE, self.consensus.propose(entry)).await {
            Ok(Ok(applied)) => Ok(applied),
            Ok(Err(error)) => Err(not_applied(error, &self.hints)),
            Err(_) => Err(Error::OutcomeUnknown(format!("not applied within {DEADLINE:?}"))),
        }
    }
}

/// Returns true if a step must wait until there is room in memory.
fn waits_for_room(step: &Step, is_promised: bool, memory_bytes: u64) -> bool {
    match step {
        Step::Receive(_) => !is_promised,
        Step::Chunk(_) => memory_bytes > 0,
        _ => false,
    }
}

/// Returns the name of a step in logs and fail points.
pub(super) fn name(step: &Step) -> &'static str {
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
    use super::*;

    #[test]
    fn a_step_waits_for_room_only_while_somebody_serves_the_shard() {
        let receive = Step::Receive(v1::handoff_step::Receive::default());
        let chunk = Step::Chunk(v1::handoff_step::Chunk::default());
        let install = Step::Install(v1::handoff_step::Install::default());
        assert!(waits_for_room(&receive, false, 0), "an older source doesn't say how much it is");
        assert!(!waits_for_room(&receive, true, 100));
        assert!(waits_for_room(&chunk, true, 100));
        assert!(!waits_for_room(&chunk, true, 0));
        assert!(!waits_for_room(&install, true, 100));
    }
}
