//! The place of one shard in a group: the shard itself, or the parts that arrive, and the fence. The
//! rules of handoffs are here.

use skv_proto::v1;
use skv_proto::v1::handoff_step::Step;
use skv_sharding::{Epoch, GroupUid};

use crate::Rejection;
use crate::deferred_drop::{Deferred, DeferredDrops};
use crate::handoff::{
    Arrival, Changes, Chunk, CopyId, Departure, Fence, Move, Peer, Progress, ShardState, Staged, StepRefusal,
    Summary,
};
use crate::shard::{Context, Shard};

/// A shard's place in a group.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) fence: Fence,
    pub(super) holding: Holding,
}

/// The part of a shard that a group has.
#[derive(Debug, Default)]
pub(super) enum Holding {
    /// The group has nothing: another group owns the shard.
    #[default]
    Nothing,
    /// The group has all, and owns the shard.
    Owned(Box<Owned>),
    /// The group has parts: it receives the shard, which another group owns.
    Staged(Box<Staged>),
}

/// A shard that the group owns.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) shard: Shard,
    pub(super) outgoing: Option<Outgoing>,
}

/// A move out of the group.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: Move,
    pub(super) phase: Phase,
}

/// The progress of a move out of the group, with what it needs.
#[derive(Debug)]
pub(super) enum Phase {
    Queued,
    Copying(Changes),
    Frozen(Changes),
}

impl From<&Phase> for Progress {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Queued => Progress::Queued,
            Phase::Copying(_) => Progress::Copying,
            Phase::Frozen(_) => Progress::Frozen,
        }
    }
}

impl Phase {
    /// Returns the changes since copying began.
    pub(super) fn changes(&self) -> Option<&Changes> {
        match self {
            Phase::Queued => None,
            Phase::Copying(changes) | Phase::Frozen(changes) => Some(changes),
        }
    }

    pub(super) fn changes_mut(&mut self) -> Option<&mut Changes> {
        match self {
            Phase::Queued => None,
            Phase::Copying(changes) | Phase::Frozen(changes) => Some(changes),
        }
    }

    fn into_deferred(self) -> Option<Deferred> {
        match self {
            Phase::Queued => None,
            Phase::Copying(changes) | Phase::Frozen(changes) => Some(Deferred::new(changes.into_parts())),
        }
    }
}

impl Holding {
    /// Returns the parts that aren't freed at once.
    fn into_deferred(self) -> Vec<Deferred> {
        match self {
            Holding::Nothing => Vec::new(),
            Holding::Staged(staged) => staged.into_deferred(),
            Holding::Owned(owned) => {
                let Owned { shard, outgoing } = *owned;
                let mut parts: Vec<Deferred> = vec![Deferred::new(shard.keys.into_parts())];
                parts.extend(outgoing.and_then(|outgoing| outgoing.phase.into_deferred()));
                parts
            }
        }
    }
}

impl Owned {
    /// Returns the changes since copying began.
    pub(super) fn changes(&self) -> Option<&Changes> {
        self.outgoing.as_ref()?.phase.changes()
    }

    pub(super) fn changes_mut(&mut self) -> Option<&mut Changes> {
        self.outgoing.as_mut()?.phase.changes_mut()
    }

    /// Returns the shard with its sessions tracked, if it is copied.
    pub(super) fn tracking(mut self) -> Self {
        self.shard.sessions.track_forgotten(self.changes().is_some());
        self
    }
}

impl Slot {
    /// Returns true if nothing was ever known of the shard here.
    pub(super) fn is_untouched(&self) -> bool {
        self.is_vacant() && self.fence == Fence::default()
    }

    /// Returns the numbers of keys, sessions, tombstones and forgotten sessions.
    pub(super) fn counts(&self) -> [u64; 4] {
        let counts = match &self.holding {
            Holding::Nothing => [0; 4],
            Holding::Owned(owned) => [
                owned.shard.keys.len(),
                owned.shard.sessions.len(),
                owned.changes().map_or(0, |changes| changes.tombstones().len()),
                owned.shard.sessions.forgotten().len(),
            ],
            Holding::Staged(staged) => [
                staged.shard.keys.len(),
                staged.sessions.len(),
                staged.tombstones.len(),
                staged.forgotten.len(),
            ],
        };
        counts.map(|count| count as u64)
    }

    /// Returns a shard that the group has from its founding.
    pub(super) fn founded(epoch: Epoch) -> Self {
        let owned = Owned { shard: Shard::new(epoch), outgoing: None };
        Slot {
            fence: Fence { seen: epoch, owned: epoch, next: None },
            holding: Holding::Owned(Box::new(owned)),
        }
    }

    /// Returns the shard to read from, if it is the group's and not frozen.
    pub(super) fn serving(&self) -> Result<&Shard, Rejection> {
        match &self.holding {
            Holding::Nothing => Err(Rejection::WrongGroup { next: self.fence.next }),
            Holding::Staged(staged) => Err(Rejection::Arriving { epoch: staged.epoch }),
            Holding::Owned(owned) => match &owned.outgoing {
                Some(Outgoing { to, phase: Phase::Frozen(_) }) => Err(Rejection::Moving { to: *to }),
                _ => Ok(&owned.shard),
            },
        }
    }

    /// Returns the shard to write to, if it is the group's and not frozen, with the place where its
    /// changes are noted while it is copied.
    pub(super) fn serving_mut(&mut self) -> Result<(&mut Shard, Option<&mut Changes>), Rejection> {
        self.serving()?;
        match &mut self.holding {
            Holding::Nothing | Holding::Staged(_) => Err(Rejection::WrongGroup { next: self.fence.next }),
            Holding::Owned(owned) => {
                let Owned { shard, outgoing } = &mut **owned;
                Ok((shard, outgoing.as_mut().and_then(|outgoing| outgoing.phase.changes_mut())))
            }
        }
    }

    /// Returns the shard, also if it is frozen.
    pub(super) fn owned(&self) -> Option<&Owned> {
        match &self.holding {
            Holding::Owned(owned) => Some(owned),
            Holding::Nothing | Holding::Staged(_) => None,
        }
    }

    /// Returns the move out of the group.
    pub(super) fn departure(&self) -> Option<Departure> {
        let outgoing = self.owned()?.outgoing.as_ref()?;
        Some(Departure { to: outgoing.to, progress: Progress::from(&outgoing.phase) })
    }

    /// Returns true if the shard leaves or comes.
    pub(super) fn is_handing_off(&self) -> bool {
        match &self.holding {
            Holding::Nothing => false,
            Holding::Owned(owned) => owned.outgoing.is_some(),
            Holding::Staged(_) => true,
        }
    }

    /// Returns the shard's arrival, if the group receives it.
    pub(super) fn arrival(&self, shard: skv_sharding::ShardId) -> Option<Arrival> {
        let Holding::Staged(staged) = &self.holding else { return None };
        let bytes = staged.shard.key_value_bytes;
        Some(Arrival { shard, epoch: staged.epoch, source: staged.source, bytes })
    }

    /// Returns a short description of the shard in the group.
    pub(super) fn summary(&self, shard: skv_sharding::ShardId) -> Option<Summary> {
        let (epoch, state, other, bytes) = match &self.holding {
            Holding::Nothing => return None,
            Holding::Staged(staged) => {
                let bytes = staged.shard.key_value_bytes;
                (staged.epoch, ShardState::Arriving, Some(staged.source.group), bytes)
            }
            Holding::Owned(owned) => {
                let departure = self.departure();
                let state = departure.map_or(ShardState::Served, |departure| departure.progress.into());
                let target = departure.map(|departure| departure.to.target);
                (owned.shard.epoch, state, target, owned.shard.key_value_bytes)
            }
        };
        let [keys, sessions, ..] = self.counts();
        Some(Summary { shard, epoch, state, other, keys, bytes, sessions })
    }

    /// Returns true if the slot holds nothing that would be lost with its group.
    pub(super) fn is_vacant(&self) -> bool {
        matches!(self.holding, Holding::Nothing)
    }

    /// Returns true if [`Slot::assign`] would change anything.
    pub(super) fn would_assign(&self, listed: Option<Move>) -> bool {
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
    pub(super) fn assign(
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
    pub(super) fn step(
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
    pub(super) fn rename_copy(&mut self) {
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
            let anew = Staged::new(epoch, staged.source, chunk.copy);
            drops.add(std::mem::replace(staged, anew).into_deferred());
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
