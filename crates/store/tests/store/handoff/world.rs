//! Groups that hand one shard to each other, and one store that never hands it over: that one would
//! have given each answer that the groups give.

use bytes::Bytes;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::handoff_step::{Abort, Begin, Chunk, Drop, Freeze, Pause, Receive, Step};
use skv_sharding::{ClusterId, Epoch, GroupId, GroupUid, MapRevision, ShardId};
use skv_store::{
    Applied, CopyId, Departure, HandoffStep, Move, Outcome, Position, Progress, Rejection, StepRefusal,
    Store, encode_assign, encode_batch, encode_found, encode_handoff,
};

/// The shard that moves.
pub(crate) const SHARD: ShardId = ShardId(0);
/// The time that all entries carry: another test covers clocks.
const TIME: u64 = 1000;
/// The chunk size in bytes: so small that everything takes several chunks and rounds.
const CHUNK: usize = 100;

pub(crate) fn limits() -> v1::Limits {
    v1::Limits {
        max_key_bytes: 100,
        max_value_bytes: 40,
        max_sessions_per_shard: 3,
        session_ttl_ms: u64::MAX / 2,
        max_old_value_bytes_per_shard: 60,
    }
}

/// Returns the store of a group that owns the shard, or nothing.
pub(crate) fn store(group: u32, owns: bool) -> Store {
    limited(group, owns, limits())
}

pub(crate) fn limited(group: u32, owns: bool, limits: v1::Limits) -> Store {
    let record = v1::BootstrapRecord {
        group,
        group_uid: uid(group).0,
        members: Vec::new(),
        shards_owned: if owns { vec![v1::ShardEpoch { shard: SHARD.0, epoch: 1 }] } else { Vec::new() },
        shards: 1,
        hash: v1::Hash::Fnv1 as i32,
        limits: Some(limits),
    };
    // Each group has its own seed: nothing that is handed over may depend on it.
    let store = Store::new(u64::from(group));
    let entry = encode_found(TIME, ClusterId(5), record, MapRevision(1)).unwrap();
    assert_eq!(store.apply(&entry), Ok(Applied::Founded { first: true }));
    store
}

pub(crate) fn uid(group: u32) -> GroupUid {
    GroupUid(100 + u64::from(group))
}

pub(crate) fn to(epoch: u64, group: u32) -> Move {
    Move { shard: SHARD, epoch: Epoch(epoch), target: GroupId(group), target_uid: uid(group) }
}

pub(crate) fn step(epoch: u64, step: impl Into<Step>) -> Bytes {
    let step = v1::HandoffStep { shard: SHARD.0, epoch, step: Some(step.into()) };
    encode_handoff(TIME, HandoffStep::try_from(step).unwrap())
}

pub(crate) fn receive(epoch: u64, source: u32) -> Bytes {
    step(epoch, Step::Receive(Receive { source, source_uid: uid(source).0 }))
}

/// Returns the entry that begins the first copy of a move.
pub(crate) fn begin(epoch: u64) -> Bytes {
    begin_copy(epoch, CopyId(epoch))
}

pub(crate) fn begin_copy(epoch: u64, copy: CopyId) -> Bytes {
    step(epoch, Step::Begin(Begin { copy: copy.0 }))
}

pub(crate) fn pause(epoch: u64, copy: CopyId) -> Bytes {
    step(epoch, Step::Pause(Pause { copy: copy.0 }))
}

/// Returns the entry that freezes the first copy of a move.
pub(crate) fn freeze(epoch: u64) -> Bytes {
    freeze_copy(epoch, CopyId(epoch))
}

pub(crate) fn freeze_copy(epoch: u64, copy: CopyId) -> Bytes {
    step(epoch, Step::Freeze(Freeze { copy: copy.0 }))
}

pub(crate) fn drop_it(epoch: u64) -> Bytes {
    step(epoch, Step::Drop(Drop {}))
}

pub(crate) fn abort(epoch: u64) -> Bytes {
    step(epoch, Step::Abort(Abort {}))
}

pub(crate) fn chunk(epoch: u64, chunk: Chunk) -> Bytes {
    step(epoch, Step::Chunk(chunk))
}

pub(crate) fn assign(version: u64, moves: &[Move]) -> Bytes {
    encode_assign(TIME, MapRevision(version), moves.iter().copied())
}

/// Applies a step; returns its result.
pub(crate) fn take(store: &Store, entry: &Bytes) -> Result<(), StepRefusal> {
    match store.apply(entry) {
        Ok(Applied::Handoff(outcome)) => outcome,
        other => panic!("a step came to {other:?}"),
    }
}

/// Applies one command.
pub(crate) fn execute(store: &Store, command: v1::Command) -> Outcome {
    match store.apply(&encode_batch(TIME, vec![command])) {
        Ok(Applied::Batch(mut outcomes)) => outcomes.pop().unwrap(),
        other => panic!("a command came to {other:?}"),
    }
}

/// Returns true if the group doesn't serve the shard.
pub(crate) fn is_elsewhere(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::WrongGroup { .. } | Rejection::Moving { .. } | Rejection::Arriving { .. })
}

/// The knowledge of a source's leader about a move, which it loses with its leadership.
#[derive(Debug, Default)]
struct Driver {
    of: Option<Move>,
    promised: bool,
    /// The chunks of the base that aren't sent yet.
    unsent: Vec<Chunk>,
    position: Option<Position>,
    /// True if the target has parts of another copy: it gets the whole shard.
    resend: bool,
}

/// The groups, their leaders' memory, and all entries that ever existed.
pub(crate) struct World {
    pub(crate) groups: Vec<Store>,
    pub(crate) alone: Store,
    drivers: Vec<Driver>,
    sent: Vec<(usize, Bytes)>,
    version: u64,
    epoch: u64,
    copies: u64,
}

impl World {
    /// Makes `groups` groups, of which the first owns the shard.
    pub(crate) fn new(groups: u32) -> Self {
        World {
            groups: (0..groups).map(|group| store(group, group == 0)).collect(),
            alone: store(99, true),
            drivers: (0..groups).map(|_| Driver::default()).collect(),
            sent: Vec::new(),
            version: 1,
            epoch: 1,
            copies: 0,
        }
    }

    /// Sends a command to a group. If the group serves the shard, it answers as if the shard
    /// had never moved; else nothing happens.
    pub(crate) fn command(&self, group: usize, command: &v1::Command) {
        let outcome = execute(&self.groups[group], command.clone());
        if !outcome.as_ref().is_err_and(is_elsewhere) {
            assert_eq!(outcome, execute(&self.alone, command.clone()), "{command:?}");
        }
    }

    /// Has the manager want the shard in a group, or want it to stay where it is.
    pub(crate) fn want(&mut self, target: Option<u32>) {
        let Some(owner) = self.owner() else { return };
        self.version += 1;
        self.epoch += 1;
        let moves: Vec<Move> = target.map(|target| to(self.epoch, target)).into_iter().collect();
        let entry = assign(self.version, &moves);
        self.groups[owner].apply(&entry).unwrap();
        self.sent.push((owner, entry));
    }

    /// Has the leader of a group do what is due next of a handoff out of it; returns true if there
    /// was anything. With `hasty` it freezes as soon as it may.
    pub(crate) fn drive(&mut self, source: usize, hasty: bool) -> bool {
        let Some(Departure { to, progress }) = self.groups[source].departures().pop() else { return false };
        if self.drivers[source].of != Some(to) {
            self.drivers[source] = Driver { of: Some(to), ..Driver::default() };
        }
        let (epoch, target) = (to.epoch.0, to.target.0 as usize);
        if progress == Progress::Queued {
            self.copies += 1;
            self.deliver(source, begin_copy(epoch, CopyId(self.copies))).unwrap();
            return true;
        }
        if !self.drivers[source].promised {
            let promise = self.deliver(target, receive(epoch, source as u32));
            self.drivers[source].promised = promise.is_ok();
            return promise.is_ok();
        }
        let resend = self.drivers[source].resend;
        if self.drivers[source].position.is_none() && progress == Progress::Frozen && !resend {
            // The leader that froze it knew that the target has everything from before.
            self.drivers[source].position = self.groups[source].beginning(&to);
        }
        if self.drivers[source].position.is_none() {
            let base = self.groups[source].base_copy(&to).unwrap();
            self.drivers[source].position = Some(base.position());
            self.drivers[source].unsent = base.into_chunks(CHUNK).collect();
        }
        if let Some(next) = self.drivers[source].unsent.pop() {
            self.must(target, chunk(epoch, next));
            return true;
        }
        let position = self.drivers[source].position.unwrap();
        if progress == Progress::Frozen {
            let Some(install) = self.groups[source].installation(&to, position) else {
                self.forget(source);
                return true;
            };
            match self.deliver(target, step(epoch, Step::Install(install))) {
                Err(StepRefusal::Incomplete) => {
                    self.drivers[source] = Driver { of: Some(to), resend: true, ..Driver::default() };
                }
                taken => {
                    assert_eq!(taken, Ok(()), "group {target} must take what it has promised to take");
                    self.deliver(source, drop_it(epoch)).unwrap();
                }
            }
            return true;
        }
        let Some(difference) = self.groups[source].difference(&to, position, CHUNK) else {
            self.forget(source);
            return true;
        };
        if hasty && !difference.more {
            self.deliver(source, freeze_copy(epoch, position.copy())).unwrap();
        } else {
            self.drivers[source].position = Some(difference.position);
            self.must(target, chunk(epoch, difference.chunk));
        }
        true
    }

    /// Has the group give up what it has copied so far. Its leader needn't know: another may have
    /// done it.
    pub(crate) fn pause(&mut self, source: usize) {
        let Some(Departure { to, .. }) = self.groups[source].departures().pop() else { return };
        if let Some(backlog) = self.groups[source].backlog(&to) {
            self.deliver(source, pause(to.epoch.0, backlog.copy)).unwrap();
        }
    }

    /// Gives the group another leader.
    pub(crate) fn forget(&mut self, group: usize) {
        self.drivers[group] = Driver::default();
    }

    /// Applies an entry once more that was sent before.
    pub(crate) fn repeat(&self, which: usize) {
        if !self.sent.is_empty() {
            let (group, entry) = &self.sent[which % self.sent.len()];
            self.groups[*group].apply(entry).unwrap();
        }
    }

    /// Has a group forget what it received of moves that its source has given up.
    pub(crate) fn collect_garbage(&mut self, group: usize) {
        for arrival in self.groups[group].arrivals() {
            let source = &self.groups[arrival.source.group.0 as usize];
            let lives = source.departures().iter().any(|departure| departure.to.epoch == arrival.epoch);
            if !lives {
                self.deliver(group, abort(arrival.epoch.0)).unwrap();
            }
        }
    }

    /// Has a replica of the group start from a snapshot.
    pub(crate) fn restart(&mut self, group: usize) {
        let fresh = Store::new(1000 + group as u64);
        let mut restore = fresh.begin_restore();
        for item in self.groups[group].view().into_items() {
            let item = v1::SnapshotItem::decode(Bytes::from(item.encode_to_vec())).unwrap();
            restore.add(item).unwrap();
        }
        fresh.restore(restore.finish().unwrap());
        assert_eq!(fresh.departures(), self.groups[group].departures());
        assert_eq!(fresh.arrivals(), self.groups[group].arrivals());
        self.groups[group] = fresh;
    }

    /// Returns the group that has the shard, frozen or not.
    pub(crate) fn owner(&self) -> Option<usize> {
        self.groups.iter().position(|group| group.owns(SHARD).is_some())
    }

    /// Checks that at most one group serves the shard, and none that doesn't own it.
    pub(crate) fn check(&self) {
        let serves = |group: &&Store| !group.get(b"any").as_ref().is_err_and(is_elsewhere);
        assert!(self.groups.iter().filter(serves).count() <= 1, "two groups serve the shard");
        assert!(self.owner().is_some(), "the shard is lost");
    }

    fn must(&mut self, group: usize, entry: Bytes) {
        let done = self.deliver(group, entry);
        assert_eq!(done, Ok(()), "group {group} must take what it has promised to take");
    }

    fn deliver(&mut self, group: usize, entry: Bytes) -> Result<(), StepRefusal> {
        let done = take(&self.groups[group], &entry);
        self.sent.push((group, entry));
        done
    }
}
