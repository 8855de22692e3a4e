//! The rules of handoffs: which step is taken in which state of a slot, and what it changes. Each step may
//! come late and more than once; the fence tells whether it was done before.

use skv_proto::v1;
use skv_proto::v1::handoff_step::Step;
use skv_sharding::{Epoch, GroupUid};

use super::{Changes, Chunk, CopyId, Move, Peer, Progress, Staged, StepRefusal};
use crate::deferred_drop::DeferredDrops;
use crate::shard::{Context, Shard};
use crate::slot::{Holding, Outgoing, Owned, Phase, Slot};

impl Slot {
    /// Returns true if [`Slot::assign`] would change anything.
    pub(crate) fn would_assign(&self, listed: Option<Move>) -> bool {
        let Some(owned) = self.owned() else { return false };
        match (&owned.outgoing, listed) {
            (Some(Outgoing { phase: Phase::Frozen(_), .. }), _) | (None, None) => false,
            (Some(_), None) => true,
            (_, Some(to)) => to.epoch > self.fence.seen,
        }
    }

    /// Notes the move on the manager's list, or that the shard stays. A shard whose target is the
    /// group itself stays, and is owned under the new epoch from now on: by that the manager sees
    /// that an earlier move is over. A frozen shard goes where it was going: that move is returned if
    /// the list says otherwise.
    pub(crate) fn assign(
        &mut self,
        listed: Option<Move>,
        own: GroupUid,
        drops: &mut DeferredDrops,
    ) -> Option<Move> {
        if self.would_assign(listed)
            && let Holding::Owned(owned) = &mut self.holding
        {
            owned.shard.sessions.track_forgotten(false);
            let leaves = listed.filter(|to| to.target_uid != own);
            let outgoing = leaves.map(|to| Outgoing { to, phase: Phase::Queued });
            let before = std::mem::replace(&mut owned.outgoing, outgoing);
            drops.add(before.and_then(|before| before.phase.into_deferred()));
            if let Some(to) = listed {
                self.fence.seen = to.epoch;
                if leaves.is_none() {
                    self.fence.owned = to.epoch;
                    owned.shard.epoch = to.epoch;
                }
            }
        }
        let departure = self.departure().filter(|departure| departure.progress == Progress::Frozen)?;
        (listed != Some(departure.to)).then_some(departure.to)
    }

    /// Takes one step of the shard's handoff. It succeeds also if the step was done before.
    pub(crate) fn step(
        &mut self,
        epoch: Epoch,
        step: Step,
        retired: bool,
        context: &Context<'_>,
        drops: &mut DeferredDrops,
    ) -> Result<(), StepRefusal> {
        match step {
            Step::Begin(begin) => self.begin(epoch, CopyId(begin.copy)),
            Step::Pause(pause) => self.abandon_copy(epoch, CopyId(pause.copy), drops),
            Step::Freeze(freeze) => self.freeze(epoch, CopyId(freeze.copy)),
            Step::Drop(_) => self.drop_shard(epoch, drops),
            Step::Receive(receive) => self.receive(epoch, &receive, retired, drops),
            Step::Chunk(chunk) => self.add(epoch, chunk, context, drops),
            Step::Install(install) => self.install(epoch, install, context, drops),
            Step::Abort(_) => self.abandon_arrival(epoch, drops),
        }
    }

    fn outgoing(&mut self, epoch: Epoch) -> Result<(&mut Shard, &mut Outgoing), StepRefusal> {
        let seen = self.fence.seen;
        let Holding::Owned(owned) = &mut self.holding else { return Err(StepRefusal::Passed(seen)) };
        let Owned { shard, outgoing } = &mut **owned;
        match outgoing {
            Some(outgoing) if outgoing.to.epoch == epoch => Ok((shard, outgoing)),
            _ if epoch <= seen => Err(StepRefusal::Passed(seen)),
            _ => Err(StepRefusal::NotDue),
        }
    }

    fn begin(&mut self, epoch: Epoch, copy: CopyId) -> Result<(), StepRefusal> {
        let (shard, outgoing) = self.outgoing(epoch)?;
        if let Phase::Queued = outgoing.phase {
            shard.sessions.track_forgotten(true);
            outgoing.phase = Phase::Copying(Changes::since(shard.revision, copy));
        }
        Ok(())
    }

    /// Gives a copy up, but only the one that is meant: it may be over, and another have begun.
    fn abandon_copy(
        &mut self,
        epoch: Epoch,
        copy: CopyId,
        drops: &mut DeferredDrops,
    ) -> Result<(), StepRefusal> {
        let (shard, outgoing) = self.outgoing(epoch)?;
        if let Phase::Copying(changes) = &outgoing.phase
            && changes.copy() == copy
        {
            shard.sessions.track_forgotten(false);
            drops.add(std::mem::replace(&mut outgoing.phase, Phase::Queued).into_deferred());
        }
        Ok(())
    }

    /// Gives the copy another name: the parts that were sent so far belong to another copy from now
    /// on.
    pub(crate) fn rename_copy(&mut self) {
        if let Holding::Owned(owned) = &mut self.holding
            && let Some(changes) = owned.changes_mut()
        {
            changes.rename();
        }
    }

    /// Freezes the shard for the target of this copy. The caller knows how much the target has of it:
    /// of another copy, it may have nothing.
    fn freeze(&mut self, epoch: Epoch, copy: CopyId) -> Result<(), StepRefusal> {
        let (_, outgoing) = self.outgoing(epoch)?;
        match std::mem::replace(&mut outgoing.phase, Phase::Queued) {
            Phase::Copying(changes) if changes.copy() == copy => outgoing.phase = Phase::Frozen(changes),
            Phase::Frozen(changes) => outgoing.phase = Phase::Frozen(changes),
            other => {
                outgoing.phase = other;
                return Err(StepRefusal::NotDue);
            }
        }
        Ok(())
    }

    fn drop_shard(&mut self, epoch: Epoch, drops: &mut DeferredDrops) -> Result<(), StepRefusal> {
        let (_, outgoing) = self.outgoing(epoch)?;
        let Outgoing { to, phase: Phase::Frozen(_) } = outgoing else { return Err(StepRefusal::NotDue) };
        self.fence.next = Some(*to);
        drops.add(std::mem::take(&mut self.holding).into_deferred());
        Ok(())
    }

    fn receive(
        &mut self,
        epoch: Epoch,
        receive: &v1::handoff_step::Receive,
        retired: bool,
        drops: &mut DeferredDrops,
    ) -> Result<(), StepRefusal> {
        let source = Peer { group: skv_sharding::GroupId(receive.source), uid: GroupUid(receive.source_uid) };
        match &self.holding {
            _ if epoch <= self.fence.owned => return Ok(()),
            Holding::Staged(staged) if staged.epoch == epoch && staged.source == source => return Ok(()),
            _ if epoch <= self.fence.seen => return Err(StepRefusal::Passed(self.fence.seen)),
            _ if retired => return Err(StepRefusal::Retired),
            // The shard went on from the group that we gave it to, and we haven't heard yet that it
            // arrived there.
            Holding::Owned(_) => return Err(StepRefusal::Busy),
            Holding::Nothing | Holding::Staged(_) => {}
        }
        self.fence.seen = epoch;
        let staged = Holding::Staged(Box::new(Staged::new(epoch, source, CopyId::default())));
        drops.add(std::mem::replace(&mut self.holding, staged).into_deferred());
        Ok(())
    }

    fn staged(&mut self, epoch: Epoch) -> Result<&mut Staged, StepRefusal> {
        let seen = self.fence.seen;
        match &mut self.holding {
            Holding::Staged(staged) if staged.epoch == epoch => Ok(staged),
            _ if epoch <= seen => Err(StepRefusal::Passed(seen)),
            _ => Err(StepRefusal::NotDue),
        }
    }

    fn add(
        &mut self,
        epoch: Epoch,
        chunk: v1::handoff_step::Chunk,
        context: &Context<'_>,
        drops: &mut DeferredDrops,
    ) -> Result<(), StepRefusal> {
        if epoch <= self.fence.owned {
            return Ok(());
        }
        let chunk = Chunk::try_from(chunk).map_err(|_| StepRefusal::Malformed)?;
        let staged = self.staged(epoch)?;
        // Between two copies keys were deleted that the later one doesn't mention. An old part that
        // comes late costs no more than time: the last step shows what is whole.
        if chunk.copy != staged.copy {
            let empty = Staged::new(epoch, staged.source, chunk.copy);
            drops.add(std::mem::replace(staged, empty).into_deferred());
        }
        staged.add(chunk, context.hasher);
        Ok(())
    }

    fn install(
        &mut self,
        epoch: Epoch,
        mut install: v1::handoff_step::Install,
        context: &Context<'_>,
        drops: &mut DeferredDrops,
    ) -> Result<(), StepRefusal> {
        // An installed shard is never replaced: a step that is sent again was done before.
        if epoch <= self.fence.owned {
            return Ok(());
        }
        self.add(epoch, install.rest.take().unwrap_or_default(), context, drops)?;
        let Holding::Staged(staged) = std::mem::take(&mut self.holding) else {
            return Err(StepRefusal::NotDue);
        };
        let source = staged.source;
        match staged.into_shard(&install, context.time, context.limits, context.hasher) {
            Ok(shard) => {
                self.fence.owned = epoch;
                self.holding = Holding::Owned(Box::new(Owned { shard, outgoing: None }));
                Ok(())
            }
            Err(refusal) => {
                self.holding = Holding::Staged(Box::new(Staged::new(epoch, source, CopyId::default())));
                Err(refusal)
            }
        }
    }

    fn abandon_arrival(&mut self, epoch: Epoch, drops: &mut DeferredDrops) -> Result<(), StepRefusal> {
        self.staged(epoch)?;
        drops.add(std::mem::take(&mut self.holding).into_deferred());
        Ok(())
    }
}
