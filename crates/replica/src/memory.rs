//! The gate before the write path for everything that makes the data grow. It is closed while this
//! server, or a majority of the group, has no room in memory.
//!
//! Closed, it lets pass what frees memory or leaves it as it is, so that the way out stays open: nothing
//! else would ever make room again. Open, it lets no more pass than fits together: an entry that a
//! majority refuses stays in the log, and all that stands behind it.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use skv_memory::{Budget, Charge, Purpose};
use skv_proto::v1::command::Kind;
use skv_proto::{Error, v1};
use skv_raft::Consensus;
use skv_sharding::ReplicaId;
use skv_store::{Growth, Store};

use crate::leader::LeaderHints;

/// More bytes than a command that isn't an Append takes beside its key and value: the place of its key, its
/// session, its answer.
const COMMAND_COST: u64 = 384;
/// The part of the bytes of keys and values that allocations may take beside them, or more.
const ROUNDED_UP: u64 = 8;

/// The growth by an entry is at most this multiple of its length, but for Appends, whose values before a
/// shard keeps in bounds.
const WORST: u64 = 16;

/// The gate of one replica. Clones are the same one.
#[derive(Debug, Clone)]
pub struct MemoryGate {
    pub(crate) budget: Budget,
    pub(crate) consensus: Consensus,
    pub(crate) hints: LeaderHints,
    pub(crate) store: Arc<Store>,
    pub(crate) expected: Expected,
}

/// The growth by entries that were taken from a leader and aren't applied, in the order of their indexes.
pub(crate) type Expected = Arc<Mutex<VecDeque<(u64, Charge)>>>;

/// The growth of an entry, as far as its commands were admitted. It keeps its room until it is dropped.
#[derive(Debug)]
pub(crate) struct EntryGrowth<'a> {
    gate: &'a MemoryGate,
    ahead: Charge,
    /// The growth that a majority of the group takes.
    left: u64,
    /// True if there is so much room that the whole entry has it already, but for its Appends.
    roughly: bool,
    /// The bytes of the records of open requests that the state has, once somebody asked.
    records: OnceCell<u64>,
}

impl MemoryGate {
    /// Refuses a command that would make the data grow while the gate is closed. A replica that doesn't
    /// lead lets it pass: the sender needs to hear who leads. Each command is judged once more when its
    /// entry is made.
    pub fn admit(&self, command: &v1::Command) -> Result<(), Error> {
        // Nearly every write gets no further than this line.
        if self.is_open() || !self.hints.is_leader() {
            return Ok(());
        }
        let growth = self.store.growth(command);
        // Counting the records for each command would take long.
        if growth.is_record() || self.growth().admits_growth(growth) {
            return Ok(());
        }
        Err(self.refusal())
    }

    /// Returns true if data may grow.
    pub(crate) fn is_open(&self) -> bool {
        self.budget.has_room() && self.consensus.can_grow()
    }

    /// Begins an entry of this many commands, whose keys and values have this many bytes.
    pub(crate) fn entry(&self, commands: usize, bytes: usize) -> EntryGrowth<'_> {
        let mut growth = self.growth();
        let most = at_most(commands, bytes);
        growth.roughly = self.is_open() && self.budget.has_plenty_for(most) && most < growth.left / 2;
        if growth.roughly {
            // Once for all commands: all cores of the server meet at this sum.
            growth.ahead.change(0, most);
        }
        growth
    }

    fn growth(&self) -> EntryGrowth<'_> {
        let (ahead, left) = (self.budget.ahead(), self.consensus.memory_left());
        EntryGrowth { gate: self, ahead, left, roughly: false, records: OnceCell::new() }
    }

    /// Admits growth by an entry that isn't made of commands; the charge is kept until it is applied.
    pub(crate) fn admit_bytes(&self, bytes: u64, purpose: Purpose) -> Result<Charge, Error> {
        let growth = self.growth();
        if growth.has_room_for(bytes, purpose) { Ok(growth.ahead) } else { Err(self.refusal()) }
    }

    /// Promises room for a shard of this size, beside all that was promised before.
    pub(crate) fn promise(&self, bytes: u64) -> Result<Charge, Error> {
        let promised = if self.is_open() { self.budget.promise(bytes) } else { None };
        promised.ok_or_else(|| self.refusal())
    }

    /// Promises room for what is missing of a shard that was promised room before, perhaps by another leader.
    pub(crate) fn promise_rest(&self, missing: u64) -> Result<Charge, Error> {
        let left = self.consensus.memory_left();
        let promised =
            if missing == 0 || missing < left - left / 4 { self.budget.promise_rest(missing) } else { None };
        promised.ok_or_else(|| self.refusal())
    }

    /// Returns true if this server has no room.
    pub(crate) fn is_full(&self) -> bool {
        !self.budget.has_room()
    }

    /// Returns the growth after which this replica takes nothing that grows, whoever leads; `None` if its
    /// memory has no limit.
    pub(crate) fn left(&self) -> Option<u64> {
        self.budget.limit().map(|_| self.budget.left())
    }

    /// Returns true if entries of this many bytes leave much room, whatever they cause.
    pub(crate) fn takes_easily(&self, bytes: usize) -> bool {
        self.can_take((bytes as u64).saturating_mul(WORST))
    }

    /// Returns true if this replica can take entries that cause this growth.
    pub(crate) fn can_take(&self, bytes: u64) -> bool {
        bytes < self.budget.left()
    }

    /// Notes the growth by entries that were taken from a leader, the last of which has this index.
    pub(crate) fn expect(&self, last: u64, bytes: u64) {
        if bytes > 0 && self.budget.limit().is_some() {
            let ahead = self.budget.ahead();
            ahead.change(0, bytes);
            self.expected.lock().push_back((last, ahead));
        }
    }

    /// Forgets the growth by entries that are applied, or in whose place a leader has others from an index
    /// on.
    pub(crate) fn settle(&self, replaced: Option<u64>) {
        let mut expected = self.expected.lock();
        if expected.is_empty() {
            return;
        }
        let applied = self.consensus.applied();
        expected.retain(|(last, _)| *last > applied && replaced.is_none_or(|first| *last < first));
    }

    /// Returns the growth that an entry causes.
    pub(crate) fn growth_of(&self, entry: &Bytes) -> u64 {
        self.store.growth_of(entry)
    }

    /// Reserves room for a state of this size in the place of the replica's; `None` if there is none.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Charge> {
        self.budget.reserve(bytes, self.store.memory())
    }

    /// Returns true if a state of this size may take the place of the replica's now.
    pub(crate) fn can_hold(&self, bytes: u64) -> bool {
        self.budget.can_hold(bytes, self.store.memory())
    }

    /// Returns the voters that may lead in this replica's place, for want of memory here.
    pub(crate) fn better_leaders(&self) -> Vec<ReplicaId> {
        if self.is_full() { self.consensus.roomy_leaders() } else { Vec::new() }
    }

    /// Returns the refusal of what makes the data grow.
    pub(crate) fn refusal(&self) -> Error {
        if self.consensus.can_grow() || self.is_full() {
            let (used, edge) = (mebibytes(self.budget.used()), mebibytes(self.budget.edge()));
            return Error::MemoryFull(format!(
                "{used} MiB are in use, and data may grow up to {edge} MiB here; delete something, or raise \
                 the server's memory"
            ));
        }
        Error::MemoryFull(
            "a majority of the group has no room; delete something, or raise their memory".into(),
        )
    }
}

impl EntryGrowth<'_> {
    /// Returns true if all of these commands have room already.
    pub(crate) fn has_admitted(&self, commands: &[v1::Command]) -> bool {
        // An Append keeps the value before, which may be large.
        self.roughly && commands.iter().all(|command| command.kind() != Kind::Append)
    }

    /// Admits a command, and returns false if there is no room for its growth.
    pub(crate) fn admits(&self, command: &v1::Command) -> bool {
        self.has_admitted(slice::from_ref(command)) || self.admits_growth(self.gate.store.growth(command))
    }

    fn admits_growth(&self, growth: Growth) -> bool {
        let bytes = growth.bytes();
        if growth.fills() {
            self.gate.consensus.can_grow() && self.has_room_for(bytes, Purpose::Data)
        } else {
            bytes == 0 || self.has_room_for(bytes, Purpose::WayOut) || growth.is_record() && self.keeps(bytes)
        }
    }

    /// Takes room for the record of a request that leaves the data as it is, beyond all edges.
    fn keeps(&self, bytes: u64) -> bool {
        let kept = *self.records.get_or_init(|| self.gate.store.open_records());
        self.gate.budget.admit_record(&self.ahead, bytes, kept)
    }

    /// Returns the charge of all that was admitted. It is kept until the entry is applied.
    pub(crate) fn into_ahead(self) -> Charge {
        self.ahead
    }

    /// Takes room for growth, if there is some here and on a majority of the group: of the last that these
    /// have, more data leaves a part for the way out.
    fn has_room_for(&self, bytes: u64, purpose: Purpose) -> bool {
        let budget = &self.gate.budget;
        let left = if purpose == Purpose::WayOut { self.left } else { self.left - self.left / 4 };
        budget.admitted().saturating_add(bytes) < left && budget.admit(&self.ahead, bytes, purpose)
    }
}

/// Returns more bytes than the state grows by commands other than Appends.
fn at_most(commands: usize, bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes + bytes / ROUNDED_UP + commands as u64 * COMMAND_COST
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}
