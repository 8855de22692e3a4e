//! The store of one group: one applier writes it, many threads read it.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use foldhash::quality::FixedState;
use parking_lot::{Mutex, RwLock};
use skv_memory::Budget;
use skv_proto::v1;
use skv_proto::v1::entry::Entry;
use skv_sharding::{Epoch, Incarnation, MapRevision, Revision, ShardId};

use crate::deferred_drop::DeferredDrops;
use crate::entry::{ApplyError, decode};
use crate::facts::Facts;
use crate::founded::{Founded, Held};
use crate::handoff::{
    Arrival, Backlog, BaseCopy, Departure, Difference, HandoffStep, Move, Position, Progress, ShardState,
    StepRefusal, Summary,
};
use crate::restore::{Restore, Restored};
use crate::shard::Context;
use crate::slot::{Owned, Slot};
use crate::stats::Stats;
use crate::view::StoreView;
use crate::{Applied, Outcome, Rejection};

/// A buffer larger than this isn't kept between entries.
const KEPT_SCRATCH: usize = 64 << 10;

/// The replicated state of a group.
pub struct Store {
    pub(super) hasher: FixedState,
    /// The group's time in ms: the greatest that any applied entry carried.
    time: AtomicU64,
    /// The founded group; `None` until the group is founded.
    pub(super) founded: RwLock<Option<Founded>>,
    /// The memory of the process, in which the state is counted.
    budget: Budget,
    /// The number of shards that leave or come.
    handing_off: AtomicUsize,
    /// The remains of shards that have gone.
    drops: Mutex<DeferredDrops>,
    /// Held while the state changes or is viewed as a whole.
    applying: Mutex<Scratch>,
}

/// Shows the group's identity only: its shards may hold gigabytes.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

/// The buffer in which the applier puts records together.
#[derive(Default)]
struct Scratch(Vec<u8>);

impl Store {
    /// Returns an empty store of a group that isn't founded. The seed should be random: it keeps
    /// clients from choosing keys that collide. The content of the store doesn't depend on it.
    pub fn new(hash_seed: u64) -> Self {
        Store::within(Budget::new(None), hash_seed)
    }

    /// Returns the same, to be counted in a budget.
    pub fn within(budget: Budget, hash_seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(hash_seed),
            time: AtomicU64::new(0),
            founded: RwLock::new(None),
            budget,
            handing_off: AtomicUsize::new(0),
            drops: Mutex::default(),
            applying: Mutex::default(),
        }
    }

    /// Applies one entry. After an error nothing has changed, and nothing may be applied any more.
    pub fn apply(&self, entry: &Bytes) -> Result<Applied, ApplyError> {
        self.apply_entry(entry, true)
    }

    /// Applies one entry whose answers nobody waits for.
    pub fn apply_silently(&self, entry: &Bytes) -> Result<(), ApplyError> {
        self.apply_entry(entry, false).map(drop)
    }

    /// Returns the value and revision of a key, as of what is applied now.
    pub fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Revision)>, Rejection> {
        let founded = self.founded.read();
        let founded = founded.as_ref().ok_or(Rejection::NotFounded)?;
        let slot = &founded.slots[founded.facts.shard_of(key)?.0 as usize];
        let hash = self.hasher.hash_one(key);
        // Ownership is checked under the lock that reads the value (invariant 5).
        let slot = slot.read();
        let shard = slot.serving()?;
        Ok(shard.get(hash, key).map(|record| (record.pair.to_value(), record.revision)))
    }

    /// Returns the length of a key's value now; 0 if it isn't here.
    pub fn value_length(&self, shard: ShardId, key: &[u8]) -> usize {
        let founded = self.founded.read();
        let slot = founded.as_ref().and_then(|founded| founded.slots.get(shard.0 as usize));
        let Some(slot) = slot.map(RwLock::read) else { return 0 };
        let record = slot.serving().ok().and_then(|shard| shard.get(self.hasher.hash_one(key), key));
        record.map_or(0, |record| record.pair.value().len())
    }

    /// Returns the highest epoch of any shard that the group has heard of.
    pub fn highest_epoch(&self) -> Epoch {
        let founded = self.founded.read();
        let seen = founded.iter().flat_map(Founded::slots).map(|(_, slot)| slot.read().fence.seen);
        seen.max().unwrap_or_default()
    }

    /// Returns the shards that the group owns, in order.
    pub fn owned_shards(&self) -> Vec<(ShardId, Epoch)> {
        let founded = self.founded.read();
        founded.as_ref().map_or(Vec::new(), |founded| founded.owned(|owned| owned.shard.epoch).collect())
    }

    /// Returns the group's facts; `None` until it is founded.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        self.founded.read().as_ref().map(|founded| Arc::clone(&founded.facts))
    }

    /// Returns the result of `of` for the group's facts; `None` until it is founded. Unlike `facts` it
    /// changes no reference count, at which all cores of the server would meet.
    pub fn with_facts<T>(&self, of: impl FnOnce(&Facts) -> T) -> Option<T> {
        self.founded.read().as_ref().map(|founded| of(founded.facts.as_ref()))
    }

    /// Returns true if the group takes no shard any more.
    pub fn is_retired(&self) -> bool {
        self.facts().is_some_and(|facts| facts.retired)
    }

    /// Returns the highest map revision that the group obeyed; 0 before it is founded.
    pub fn obeyed_revision(&self) -> MapRevision {
        self.facts().map_or(MapRevision(0), |facts| facts.obeyed_revision)
    }

    /// Returns the group's time in ms: the greatest that an applied entry carried.
    pub fn time(&self) -> u64 {
        self.time.load(Ordering::Acquire)
    }

    /// Returns true if a tick at `now` would forget sessions. It may err towards true, once.
    pub fn sessions_due(&self, now: u64) -> bool {
        let time = now.max(self.time());
        let founded = self.founded.read();
        let is_due =
            |slot: &RwLock<Slot>| slot.read().serving().is_ok_and(|shard| shard.sessions.may_be_due(time));
        founded.iter().flat_map(Founded::slots).any(|(_, slot)| is_due(slot))
    }

    /// Returns true if any shard leaves or comes.
    pub fn is_handing_off(&self) -> bool {
        self.handing_off.load(Ordering::Acquire) > 0
    }

    /// Returns the moves out of the group that aren't over, in the order of the shards.
    pub fn departures(&self) -> Vec<Departure> {
        let founded = self.founded.read();
        let slots = founded.iter().flat_map(Founded::slots);
        slots.filter_map(|(_, slot)| slot.read().departure()).collect()
    }

    /// Returns the shards that the group receives, in their order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let founded = self.founded.read();
        let slots = founded.iter().flat_map(Founded::slots);
        slots.filter_map(|(id, slot)| slot.read().arrival(id)).collect()
    }

    /// Returns a summary of each shard, in their order; those of which the group has nothing are left
    /// out.
    pub fn shards(&self) -> Vec<Summary> {
        let founded = self.founded.read();
        founded.iter().flat_map(Founded::summaries).collect()
    }

    /// Returns the progress of a move out of the group; `None` if it is over, or another.
    pub fn progress(&self, to: &Move) -> Option<Progress> {
        self.leaving(to, |_, progress| Some(progress))
    }

    /// Returns true if the manager's list would change anything.
    pub fn would_assign(&self, moves: &[Move]) -> bool {
        let founded = self.founded.read();
        let Some(founded) = founded.as_ref() else { return false };
        if moves.is_empty() && !self.is_handing_off() {
            return false;
        }
        let listed = by_shard(moves.iter().copied());
        founded.slots().any(|(id, slot)| slot.read().would_assign(listed.get(&id).copied()))
    }

    /// Returns the whole shard of a move, while it is copied or frozen.
    pub fn base_copy(&self, to: &Move) -> Option<BaseCopy> {
        let founded = self.founded.read();
        let founded = founded.as_ref()?;
        founded.leaving(to, |owned, _| {
            Some(BaseCopy::of(&owned.shard, owned.changes()?, founded.hold(to.shard)))
        })
    }

    /// Returns the position of a target that has the shard as it was when copying began.
    pub fn beginning(&self, to: &Move) -> Option<Position> {
        self.leaving(to, |owned, _| Some(Position::beginning(owned.changes()?)))
    }

    /// Returns what is kept for a copy that goes on; `None` if none does.
    pub fn backlog(&self, to: &Move) -> Option<Backlog> {
        self.leaving(to, |owned, progress| {
            let shard = &owned.shard;
            let changes = owned.changes().filter(|_| progress == Progress::Copying)?;
            Some(changes.backlog(shard.key_value_bytes, shard.sessions.forgotten().len()))
        })
    }

    /// Returns what changed of a move's shard after a position of the same copy, up to about `bytes`
    /// bytes.
    pub fn difference(&self, to: &Move, after: Position, bytes: usize) -> Option<Difference> {
        self.leaving(to, |owned, _| self.changed(owned, after, bytes))
    }

    /// Returns the last step at the target of a frozen move, with all that changed after a position.
    pub fn installation(&self, to: &Move, after: Position) -> Option<v1::handoff_step::Install> {
        self.leaving(to, |owned, progress| {
            let is_final = progress == Progress::Frozen;
            let rest = is_final.then(|| self.changed(owned, after, usize::MAX))??;
            Some(rest.into_install(&owned.shard))
        })
    }

    fn changed(&self, owned: &Owned, after: Position, bytes: usize) -> Option<Difference> {
        let hash = |key: &[u8]| self.hasher.hash_one(key);
        Difference::after(&owned.shard, owned.changes()?, after, bytes, hash)
    }

    fn leaving<T>(&self, to: &Move, of: impl FnOnce(&Owned, Progress) -> Option<T>) -> Option<T> {
        self.founded.read().as_ref()?.leaving(to, of)
    }

    /// Frees a little of what is left of shards that have gone. Returns true if there is more.
    pub fn free_some(&self) -> bool {
        self.drops.lock().free_some()
    }

    /// Returns the store's sizes. Visits every shard.
    pub fn stats(&self) -> Stats {
        let founded = self.founded.read();
        let mut stats = Stats::default();
        for summary in founded.iter().flat_map(Founded::summaries) {
            *stats.shards.entry(summary.state).or_insert(0) += 1;
            if summary.state != ShardState::Arriving {
                stats.keys += summary.keys;
                stats.bytes += summary.bytes;
                stats.sessions += summary.sessions;
            }
        }
        stats
    }

    /// Returns the state between two entries. It costs one reference per bucket of keys; later
    /// entries don't show in it.
    pub fn view(&self) -> StoreView {
        let _applying = self.applying.lock();
        StoreView::new(self.time(), self.founded.read().as_ref())
    }

    /// Returns the memory in which the state is counted.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Begins to put together a state that this store can take over. The store isn't touched.
    pub fn begin_restore(&self) -> Restore {
        Restore::new(self.hasher.clone(), self.budget.clone())
    }

    /// Replaces the whole state by one that was restored from a view. Returns the old one, which may
    /// be large: a caller that waits for this needn't wait for it to be freed.
    pub fn restore(&self, restored: Restored) -> impl Send + use<> {
        let _applying = self.applying.lock();
        self.time.store(restored.time, Ordering::Release);
        let handing_off = restored.founded.as_ref().map_or(0, Founded::handing_off);
        let old = std::mem::replace(&mut *self.founded.write(), restored.founded);
        self.handing_off.store(handing_off, Ordering::Release);
        old
    }

    /// Gives the whole state up, before one from elsewhere takes its place for which there isn't room
    /// beside it.
    pub fn make_room(&self) -> impl Send + use<> {
        self.restore(Restored { time: self.time(), founded: None })
    }

    fn apply_entry(&self, entry: &Bytes, answer: bool) -> Result<Applied, ApplyError> {
        let (time, entry) = decode(entry)?;
        let mut scratch = self.applying.lock();
        let time = self.time().max(time);
        self.time.store(time, Ordering::Release);
        Ok(match entry {
            Entry::Batch(batch) => {
                let mut outcomes = Vec::with_capacity(if answer { batch.commands.len() } else { 0 });
                self.apply_batch(&batch.commands, time, &mut scratch.0, |outcome| {
                    if answer {
                        outcomes.push(outcome);
                    }
                });
                Applied::Batch(outcomes)
            }
            Entry::Found(record) => match Facts::founded(&record) {
                Ok(founding) => Applied::Founded { first: self.found(founding) },
                Err(_) => Applied::Malformed,
            },
            Entry::Obey(revision) => self.change_facts(|facts| {
                let revision = MapRevision(revision);
                let accepted = revision >= facts.obeyed_revision;
                facts.obeyed_revision = facts.obeyed_revision.max(revision);
                Applied::Obeyed { accepted, revision: facts.obeyed_revision }
            }),
            Entry::Reset(incarnation) => self.reset(Incarnation(incarnation)),
            Entry::Assign(list) => self.assign(list),
            Entry::Handoff(step) => Applied::Handoff(self.take_step(step, time, &mut scratch.0)),
            Entry::Retire(_) => self.retire(),
            Entry::Tick(_) => {
                self.forget_due_sessions(time);
                Applied::Nothing
            }
        })
    }

    /// Applies the commands of one entry. Holds a shard's lock for as long as commands for it follow
    /// each other.
    fn apply_batch(
        &self,
        commands: &[v1::Command],
        time: u64,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(Outcome),
    ) {
        let founded = self.founded.read();
        let Some(founded) = founded.as_ref() else {
            return commands.iter().for_each(|_| each(Err(Rejection::NotFounded)));
        };
        let (limits, mut held) = (&founded.facts.limits, Held::default());
        let mut context = Context { time, limits, hasher: &self.hasher, scratch };
        for run in commands.chunk_by(|a, b| a.shard == b.shard) {
            let shard = ShardId(run[0].shard);
            if !founded.has_slot(shard) {
                for _ in run {
                    each(Err(Rejection::WrongGroup { next: None }));
                }
                continue;
            }
            founded.change_one_of_many(shard, &mut held, |slot| match slot.serving_mut() {
                Err(rejection) => run.iter().for_each(|_| each(Err(rejection))),
                Ok((shard, mut changes)) => {
                    shard.sessions.forget_due(time, limits, &self.hasher);
                    for command in run {
                        each(shard.execute(command, changes.as_deref_mut(), &mut context));
                    }
                }
            });
        }
        founded.count(held.before, held.after);
        if scratch.capacity() > KEPT_SCRATCH {
            *scratch = Vec::new();
        }
    }

    /// Founds the group; returns false if it was founded before. Idempotent: a group is founded once
    /// (invariant 7).
    fn found(&self, (facts, owned): (Facts, Vec<(ShardId, Epoch)>)) -> bool {
        let mut slot = self.founded.write();
        if slot.is_some() {
            return false;
        }
        let founded = Founded::new(facts, &self.budget);
        for (shard, epoch) in owned {
            *founded.slots[shard.0 as usize].write() = Slot::founded(epoch);
        }
        *slot = Some(founded);
        true
    }

    fn change_facts(&self, change: impl FnOnce(&mut Facts) -> Applied) -> Applied {
        self.founded
            .write()
            .as_mut()
            .map_or(Applied::NotFounded, |founded| change(Arc::make_mut(&mut founded.facts)))
    }

    /// Begins another incarnation, and renames all copies: what was sent of shards that leave may be
    /// of a history that is undone.
    fn reset(&self, incarnation: Incarnation) -> Applied {
        if let Some(founded) = self.founded.read().as_ref() {
            founded.slots().for_each(|(_, slot)| slot.write().rename_copy());
        }
        self.change_facts(|facts| {
            if incarnation > facts.incarnation {
                facts.lineage = facts.lineage.followed_by(facts.incarnation);
                facts.incarnation = incarnation;
            }
            Applied::Reset(facts.incarnation)
        })
    }

    fn forget_due_sessions(&self, time: u64) {
        let founded = self.founded.read();
        let Some(founded) = founded.as_ref() else { return };
        for (id, _) in founded.slots().filter(|(_, slot)| slot.read().serving().is_ok()) {
            // A frozen shard changes no more: what is sent of it stays true.
            founded.change(id, |slot| {
                if let Ok((shard, _)) = slot.serving_mut() {
                    shard.sessions.forget_due(time, &founded.facts.limits, &self.hasher);
                }
            });
        }
    }

    fn assign(&self, list: v1::Assignment) -> Applied {
        let mut founded = self.founded.write();
        let Some(founded) = founded.as_mut() else { return Applied::NotFounded };
        let obeyed = founded.facts.obeyed_revision;
        let revision = obeyed.max(MapRevision(list.manager_version));
        if MapRevision(list.manager_version) < obeyed {
            return Applied::Assigned { accepted: false, revision, frozen: Vec::new() };
        }
        if revision > obeyed {
            Arc::make_mut(&mut founded.facts).obeyed_revision = revision;
        }
        let listed = by_shard(list.moves.into_iter().map(Into::into));
        let own = founded.facts.uid;
        let mut drops = self.drops.lock();
        let assign =
            |(id, _)| founded.change(id, |slot| slot.assign(listed.get(&id).copied(), own, &mut drops));
        let frozen = founded.slots().filter_map(assign).collect();
        self.handing_off.store(founded.handing_off(), Ordering::Release);
        Applied::Assigned { accepted: true, revision, frozen }
    }

    fn take_step(&self, step: v1::HandoffStep, time: u64, scratch: &mut Vec<u8>) -> Result<(), StepRefusal> {
        let HandoffStep { shard, epoch, step } =
            HandoffStep::try_from(step).map_err(|_| StepRefusal::Malformed)?;
        let founded = self.founded.read();
        let founded = founded.as_ref().ok_or(StepRefusal::NotFounded)?;
        if !founded.has_slot(shard) {
            return Err(StepRefusal::NoSuchShard);
        }
        let context = Context { time, limits: &founded.facts.limits, hasher: &self.hasher, scratch };
        founded.change(shard, |slot| {
            let before = slot.is_handing_off();
            let outcome = slot.step(epoch, step, founded.facts.retired, &context, &mut self.drops.lock());
            match (before, slot.is_handing_off()) {
                (false, true) => drop(self.handing_off.fetch_add(1, Ordering::Release)),
                (true, false) => drop(self.handing_off.fetch_sub(1, Ordering::Release)),
                _ => {}
            }
            outcome
        })
    }

    /// Ends the group for good, unless it holds anything of a shard: it might be the only copy.
    fn retire(&self) -> Applied {
        let mut founded = self.founded.write();
        let Some(founded) = founded.as_mut() else { return Applied::NotFounded };
        let vacant = founded.slots().all(|(_, slot)| slot.read().is_vacant());
        if vacant && !founded.facts.retired {
            Arc::make_mut(&mut founded.facts).retired = true;
        }
        Applied::Retired(vacant)
    }
}

fn by_shard(moves: impl Iterator<Item = Move>) -> BTreeMap<ShardId, Move> {
    moves.map(|to| (to.shard, to)).collect()
}
