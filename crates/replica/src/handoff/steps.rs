//! The steps of handoffs that a leader takes in its own group, each by an entry of the group's log.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use skv_fail_points::fail_point;
use skv_memory::{Charge, Purpose};
use skv_proto::v1::handoff_step::Step;
use skv_proto::{Error, v1};
use skv_sharding::{Epoch, GroupId, GroupUid, Incarnation, ShardId};
use skv_store::{Applied, Arrival, HandoffStep, Peer, StepRefusal, encode_handoff};
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
    /// Refuses a step of a source that was revived since, as an incarnation that the map shows or whose steps
    /// came here: it has the shard under the same epoch, and both would hand it over. A source of an older
    /// version doesn't say of which incarnation it is.
    pub fn check_source(&self, step: &HandoffStep, theirs: Option<u32>) -> Result<(), Error> {
        let Some(theirs) = theirs.map(Incarnation) else { return Ok(()) };
        let source = if let Step::Receive(receive) = step.step() {
            Some(Peer { group: GroupId(receive.source), uid: GroupUid(receive.source_uid) })
        } else {
            let is_it = |arrival: &Arrival| (arrival.shard, arrival.epoch) == (step.shard(), step.epoch());
            let arrival = self.store.arrivals().into_iter().find(is_it);
            arrival.map(|arrival| arrival.source)
        };
        let Some(source) = source else { return Ok(()) };
        let incarnation = |source: Peer| self.map.incarnation(source.group, source.uid);
        let recorded = incarnation(source).unwrap_or_default();
        let known = || {
            let arriving: BTreeSet<GroupUid> =
                self.store.arrivals().iter().map(|arrival| arrival.source.uid).collect();
            move |source: Peer| arriving.contains(&source.uid) || incarnation(source).is_some()
        };
        let newest = self.handoffs.newest_life(source, recorded, theirs, known);
        if theirs < newest {
            return Err(Error::WrongIdentity(format!(
                "{} was revived since, as incarnation {newest}; incarnation {theirs} hands nothing over",
                source.group
            )));
        }
        Ok(())
    }

    /// Refuses a step of another group's handoff for which the group has no room in memory, or takes that
    /// room. A part that came before needs none.
    pub fn admit_step(&self, step: &HandoffStep, memory_bytes: u64) -> Result<StepRoom, Error> {
        self.check_leads()?;
        let (shard, epoch, memory) = (step.shard(), step.epoch(), self.writes.memory());
        Ok(match (need_of(step.step(), self.has_promised(shard, epoch), memory_bytes), step.step()) {
            (Need::Promise, _) => {
                StepRoom::Promise(shard, epoch, memory_bytes, memory.promise(memory_bytes)?)
            }
            (Need::Promised, _) if memory_bytes > 0 => {
                // It is promised again for as much as is missing now, or refused: a source that was refused a
                // part asks first, before it sends all of them once more.
                self.handoffs.forget_promise(shard);
                let arrived = self.arrived(shard, epoch).unwrap_or(memory_bytes);
                let missing = memory.promise_rest(memory_bytes.saturating_sub(arrived))?;
                StepRoom::Promise(shard, epoch, memory_bytes, missing)
            }
            (Need::Growth(purpose), Step::Chunk(chunk)) => match self.store.growth_by(shard, epoch, chunk) {
                0 => StepRoom::Nothing,
                bytes => StepRoom::Growth(memory.admit_bytes(bytes, purpose)?),
            },
            _ => StepRoom::Nothing,
        })
    }

    /// Takes a step of another group's handoff, for which there is room.
    pub async fn take_step_of_other(
        &self,
        step: HandoffStep,
        room: StepRoom,
    ) -> Result<Result<(), StepRefusal>, Error> {
        let taken = self.take_step(step).await?;
        if let (Ok(()), StepRoom::Promise(shard, epoch, bytes, charge)) = (&taken, room) {
            self.handoffs.keep_promise(shard, epoch, bytes, charge);
        }
        Ok(taken)
    }

    /// Takes a step of a handoff by the group's log.
    pub(super) async fn take_step(&self, step: HandoffStep) -> Result<Result<(), StepRefusal>, Error> {
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

/// The room in memory that a step of another group's handoff needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Room for the whole shard, beside all others that were promised.
    Promise,
    /// Room for what is missing of a shard that was promised before.
    Promised,
    /// Room for what it brings.
    Growth(Purpose),
}

/// The room in memory that a step of another group's handoff has.
#[derive(Debug)]
pub enum StepRoom {
    /// It needs none.
    Nothing,
    /// The shard with its epoch has room for so many bytes.
    Promise(ShardId, Epoch, u64, Charge),
    /// The step has room until it is taken.
    Growth(Charge),
}

/// Returns the need of a step. The memory that the source names is 0 if nobody serves the shard.
fn need_of(step: &Step, is_promised: bool, memory_bytes: u64) -> Need {
    match step {
        Step::Receive(_) if !is_promised => Need::Promise,
        Step::Receive(_) => Need::Promised,
        Step::Chunk(_) if memory_bytes > 0 => Need::Growth(Purpose::Promised),
        Step::Chunk(_) => Need::Growth(Purpose::WayOut),
        _ => Need::Nothing,
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
    fn a_shard_that_nobody_serves_goes_on_for_longer_and_its_last_step_never_waits() {
        let receive = Step::Receive(v1::handoff_step::Receive::default());
        let chunk = Step::Chunk(v1::handoff_step::Chunk::default());
        let install = Step::Install(v1::handoff_step::Install::default());
        assert_eq!(need_of(&receive, false, 0), Need::Promise, "an older source doesn't say how much it is");
        assert_eq!(need_of(&receive, true, 100), Need::Promised);
        assert_eq!(need_of(&chunk, true, 100), Need::Growth(Purpose::Promised));
        assert_eq!(need_of(&chunk, true, 0), Need::Growth(Purpose::WayOut));
        assert_eq!(need_of(&install, true, 100), Need::Nothing);
    }
}
