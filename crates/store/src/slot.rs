//! The place of one shard in a group: the shard itself, or the parts that arrive, and the fence.

use skv_sharding::Epoch;

use crate::Rejection;
use crate::deferred_drop::Deferred;
use crate::handoff::{Arrival, Changes, Departure, Fence, Move, Progress, ShardState, Staged, Summary};
use crate::shard::Shard;

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

    pub(super) fn into_deferred(self) -> Option<Deferred> {
        match self {
            Phase::Queued => None,
            Phase::Copying(changes) | Phase::Frozen(changes) => Some(Deferred::new(changes.into_parts())),
        }
    }
}

impl Holding {
    /// Returns the parts that aren't freed at once.
    pub(super) fn into_deferred(self) -> Vec<Deferred> {
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
}
