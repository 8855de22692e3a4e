//! The memory that a state takes, by the counts that it keeps anyway: asked after each change, the
//! allocator would be too slow, and it doesn't know which of its pages hold data.
//!
//! The costs below are those of the usual case: tables of buckets that are two thirds full, and
//! allocations that are rounded up. `tests/memory.rs` compares them with a real process.

use crate::handoff::{Changes, Staged};
use crate::retained::Account;
use crate::sessions::Sessions;
use crate::shard::Shard;
use crate::slot::{Holding, Slot};

/// The cost of a key beside the bytes of key and value: its place in the table, its allocation.
pub(super) const PER_KEY: u64 = 104;
/// The part by which allocations of keys and values are rounded up.
const ROUNDED_UP: u64 = 16;
/// The cost of a session with a decided request: its places in the table and in the order of use.
pub(super) const PER_SESSION: u64 = 250;
/// The cost of each further decided request.
pub(super) const PER_DECIDED: u64 = 72;
/// The cost of an old value beside its bytes.
pub(super) const PER_OLD_VALUE: u64 = 100;
/// The cost of a change beside its key.
const PER_CHANGE: u64 = 64;
/// The cost of a deletion beside its key, in addition to that of a change.
pub(super) const PER_TOMBSTONE: u64 = 112;
/// The cost of a forgotten session that is remembered for a target.
const PER_FORGOTTEN: u64 = 28;

/// Returns the bytes that keys and values of so many bytes take.
pub(super) fn rounded(bytes: u64) -> u64 {
    bytes + bytes / ROUNDED_UP
}

/// Returns the bytes of records.
fn records(count: u64, bytes: u64) -> u64 {
    rounded(bytes) + count * PER_KEY
}

/// Returns the bytes of sessions with their decided requests and old values.
fn sessions(count: usize, decided: usize, (old_values, old_bytes): (usize, usize)) -> u64 {
    count as u64 * PER_SESSION
        + decided.saturating_sub(count) as u64 * PER_DECIDED
        + old_values as u64 * PER_OLD_VALUE
        + old_bytes as u64
}

impl Slot {
    /// Returns the memory that it takes. Costs no more than a few additions.
    pub(super) fn account(&self) -> Account {
        match &self.holding {
            Holding::Nothing => Account { held: 0, left: 0 },
            Holding::Owned(owned) => Account {
                held: owned.shard.held() + owned.changes().map_or(0, Changes::held),
                left: owned.shard.left(),
            },
            Holding::Staged(staged) => Account { held: staged.held(), left: staged.shard.left() },
        }
    }
}

impl Shard {
    fn held(&self) -> u64 {
        records(self.keys.len() as u64, self.key_value_bytes) + self.sessions.held()
    }

    fn left(&self) -> u64 {
        self.replaced + self.keys.copied() + self.sessions.copied()
    }
}

impl Sessions {
    fn held(&self) -> u64 {
        sessions(self.len(), self.decided(), self.old_values())
            + self.forgotten().len() as u64 * PER_FORGOTTEN
    }
}

impl Changes {
    fn held(&self) -> u64 {
        let (changes, deletions, key_bytes) = self.sizes();
        changes as u64 * PER_CHANGE + deletions as u64 * PER_TOMBSTONE + key_bytes
    }
}

impl Staged {
    fn held(&self) -> u64 {
        self.shard.held()
            + self.tombstones.len() as u64 * PER_TOMBSTONE
            + self.tombstone_bytes
            + sessions(self.sessions.len(), self.decided, self.old_values)
            + self.forgotten.len() as u64 * PER_FORGOTTEN
    }
}
