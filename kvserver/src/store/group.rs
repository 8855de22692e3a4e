//! The store of one group: one applier writes it, many threads read it.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foldhash::quality::FixedState;
use parking_lot::{Mutex, RwLock};
use skv_proto::v1;
use skv_proto::v1::entry::Entry;
use skv_sharding::{Epoch, Incarnation, Revision, ShardId};

use crate::store::entry::{ApplyError, decode};
use crate::store::facts::{Facts, RecordError};
use crate::store::founded::Founded;
use crate::store::shard::{Context, Shard};
use crate::store::view::{Restore, Restored, StoreView};
use crate::store::{Applied, Outcome, Rejection};

/// A buffer larger than this isn't kept between entries.
const KEPT_SCRATCH: usize = 64 << 10;

/// The replicated state of a group.
pub struct Store {
    hasher: FixedState,
    /// In ms: the greatest that any applied entry carried.
    time: AtomicU64,
    /// `None` until the group is founded.
    founded: RwLock<Option<Founded>>,
    /// Held while the state changes or is viewed as a whole.
    applying: Mutex<Scratch>,
}

/// Who it is; what it holds may be gigabytes.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

/// Where the applier puts records together.
#[derive(Default)]
struct Scratch(Vec<u8>);

/// How much a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys with a value.
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Sessions of all shards; a clerk has one in each that it writes to.
    pub sessions: u64,
    /// Owned shards.
    pub owned: u32,
}

impl Store {
    /// An empty store of a group that isn't founded. The seed should be random: it keeps
    /// clients from choosing keys that collide. What the store holds doesn't depend on it.
    pub fn new(hash_seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(hash_seed),
            time: AtomicU64::new(0),
            founded: RwLock::new(None),
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

    /// The value and revision of a key, as of what is applied now.
    pub fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Revision)>, Rejection> {
        let founded = self.founded.read();
        let founded = founded.as_ref().ok_or(Rejection::NotFounded)?;
        let slot = &founded.shards[founded.facts.shard_of(key)?.0 as usize];
        let hash = self.hasher.hash_one(key);
        // Ownership is checked under the lock that reads the value (invariant 5).
        let shard = slot.read();
        let shard = shard.as_ref().ok_or(Rejection::WrongGroup)?;
        Ok(shard.get(hash, key).map(|record| (record.pair.to_value(), record.revision)))
    }

    /// The shard of a key.
    pub fn shard_of(&self, key: &[u8]) -> Result<ShardId, Rejection> {
        self.founded.read().as_ref().ok_or(Rejection::NotFounded)?.facts.shard_of(key)
    }

    /// Since which epoch the group owns a shard; `None`: it doesn't.
    pub fn owns(&self, shard: ShardId) -> Option<Epoch> {
        let founded = self.founded.read();
        let slot = founded.as_ref()?.shards.get(shard.0 as usize)?.read();
        slot.as_ref().map(|shard| shard.epoch)
    }

    /// The shards that the group owns, in order.
    pub fn owned_shards(&self) -> Vec<(ShardId, Epoch)> {
        let founded = self.founded.read();
        founded.as_ref().map_or(Vec::new(), |founded| founded.owned(|shard| shard.epoch).collect())
    }

    /// Who the group is; `None` until it is founded.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        self.founded.read().as_ref().map(|founded| Arc::clone(&founded.facts))
    }

    /// The highest manager version that the group obeyed; 0 before it is founded.
    pub fn obeyed_version(&self) -> u64 {
        self.facts().map_or(0, |facts| facts.obeyed_version)
    }

    /// The group's time in ms: the greatest that an applied entry carried.
    pub fn time(&self) -> u64 {
        self.time.load(Ordering::Acquire)
    }

    /// Whether a tick at `now` would forget sessions. May err towards true, once.
    pub fn sessions_due(&self, now: u64) -> bool {
        let time = now.max(self.time());
        let founded = self.founded.read();
        founded.as_ref().is_some_and(|f| f.owned(|shard| shard.sessions.may_be_due(time)).any(|(_, due)| due))
    }

    /// How much there is. Visits every shard.
    pub fn stats(&self) -> Stats {
        let founded = self.founded.read();
        let Some(founded) = founded.as_ref() else { return Stats::default() };
        founded.owned(|shard| (shard.keys.len(), shard.key_value_bytes, shard.sessions.len())).fold(
            Stats::default(),
            |sum, (_, (keys, bytes, sessions))| Stats {
                keys: sum.keys + keys as u64,
                bytes: sum.bytes + bytes,
                sessions: sum.sessions + sessions as u64,
                owned: sum.owned + 1,
            },
        )
    }

    /// The state between two entries. Costs one reference per bucket of keys; later
    /// entries don't show in it.
    pub fn view(&self) -> StoreView {
        let _applying = self.applying.lock();
        StoreView::new(self.time(), self.founded.read().as_ref())
    }

    /// Begins to put together a state that this store can take over. The store isn't touched.
    pub fn begin_restore(&self) -> Restore {
        Restore::new(self.hasher.clone())
    }

    /// Replaces the whole state by one that was restored from a view.
    pub fn restore(&self, restored: Restored) {
        let _applying = self.applying.lock();
        self.time.store(restored.time, Ordering::Release);
        let old = std::mem::replace(&mut *self.founded.write(), restored.founded);
        // The old state may be large: it is dropped here, after the lock.
        drop(old);
    }

    fn apply_entry(&self, entry: &Bytes, answer: bool) -> Result<Applied, ApplyError> {
        let (time, entry) = decode(entry)?;
        let founding = match &entry {
            Entry::Found(record) => Some(Facts::founded(record).map_err(|e| corrupt(&e))?),
            _ => None,
        };
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
            Entry::Found(_) => Applied::Founded { first: self.found(founding) },
            Entry::Obey(version) => self.change_facts(|facts| {
                let accepted = version >= facts.obeyed_version;
                facts.obeyed_version = facts.obeyed_version.max(version);
                Applied::Obeyed { accepted, version: facts.obeyed_version }
            }),
            Entry::Reset(incarnation) => self.change_facts(|facts| {
                facts.incarnation = facts.incarnation.max(Incarnation(incarnation));
                Applied::Reset(facts.incarnation)
            }),
            Entry::Tick(_) => {
                self.forget_due_sessions(time);
                Applied::Nothing
            }
        })
    }

    /// Holds a shard's lock for as long as commands for it follow each other.
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
        let limits = &founded.facts.limits;
        let mut context = Context { time, limits, hasher: &self.hasher, scratch };
        for run in commands.chunk_by(|a, b| a.shard == b.shard) {
            let mut slot = founded.shards.get(run[0].shard as usize).map(RwLock::write);
            match slot.as_mut().and_then(|slot| slot.as_mut()) {
                None => run.iter().for_each(|_| each(Err(Rejection::WrongGroup))),
                Some(shard) => {
                    shard.sessions.forget_due(time, limits, &self.hasher);
                    for command in run {
                        each(shard.execute(command, &mut context));
                    }
                }
            }
        }
        if scratch.capacity() > KEPT_SCRATCH {
            *scratch = Vec::new();
        }
    }

    /// Idempotent: a group is founded once (invariant 7).
    fn found(&self, founding: Option<(Facts, Vec<(ShardId, Epoch)>)>) -> bool {
        let mut slot = self.founded.write();
        let (None, Some((facts, owned))) = (slot.as_ref(), founding) else { return false };
        let founded = Founded::new(facts);
        for (shard, epoch) in owned {
            *founded.shards[shard.0 as usize].write() = Some(Shard::new(epoch));
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

    fn forget_due_sessions(&self, time: u64) {
        let founded = self.founded.read();
        let Some(founded) = founded.as_ref() else { return };
        for shard in founded.shards.iter().filter(|shard| shard.read().is_some()) {
            if let Some(shard) = shard.write().as_mut() {
                shard.sessions.forget_due(time, &founded.facts.limits, &self.hasher);
            }
        }
    }
}

fn corrupt(error: &RecordError) -> ApplyError {
    ApplyError::Corrupt(error.to_string())
}
