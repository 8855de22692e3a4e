//! The gate before the write path for everything that makes the data grow. It is closed while this
//! server, or a majority of the group, has no room in memory.
//!
//! Closed, it lets pass what frees memory or leaves it as it is, so that the way out stays open: nothing
//! else would ever make room again.

use std::sync::Arc;

use bytes::Bytes;
use skv_memory::Budget;
use skv_proto::{Error, v1};
use skv_raft::Consensus;
use skv_sharding::ReplicaId;
use skv_store::Store;

use crate::leader::LeaderHints;

/// The gate of one replica. Clones are the same one.
#[derive(Debug, Clone)]
pub struct MemoryGate {
    pub(crate) budget: Budget,
    pub(crate) consensus: Consensus,
    pub(crate) hints: LeaderHints,
    pub(crate) store: Arc<Store>,
}

impl MemoryGate {
    /// Refuses a command that would make the data grow while the gate is closed. A replica that doesn't
    /// lead lets it pass: the sender needs to hear who leads.
    pub fn admit(&self, command: &v1::Command) -> Result<(), Error> {
        // Nearly every write gets no further than this line.
        if self.is_open() || !self.hints.is_leader() {
            return Ok(());
        }
        if self.store.growth(command).fills() { Err(self.refusal()) } else { Ok(()) }
    }

    /// Returns true if data may grow.
    pub(crate) fn is_open(&self) -> bool {
        self.budget.has_room() && self.consensus.can_grow()
    }

    /// Refuses data that is larger than the room for it.
    pub(crate) fn admit_bytes(&self, bytes: u64) -> Result<(), Error> {
        if self.is_open() && self.budget.has_room_for(bytes) { Ok(()) } else { Err(self.refusal()) }
    }

    /// Returns true if this server has no room.
    pub(crate) fn is_full(&self) -> bool {
        !self.budget.has_room()
    }

    /// Returns true if this replica can take entries of this many bytes that make the data grow, whoever
    /// leads.
    pub(crate) fn can_take(&self, bytes: u64) -> bool {
        self.budget.can_hold(bytes, 0)
    }

    /// Returns true if an entry makes the data grow.
    pub(crate) fn is_growth(&self, entry: &Bytes) -> bool {
        self.store.grows_by(entry)
    }

    /// Returns true if a state of this size may take the place of the replica's.
    pub(crate) fn can_hold(&self, bytes: u64) -> bool {
        self.budget.can_hold(bytes, self.store.memory())
    }

    /// Returns the voters that may lead in this replica's place, for want of memory here: those that
    /// have room, if they are a majority, since the group can't grow under another leader either else.
    pub(crate) fn better_leaders(&self) -> Vec<ReplicaId> {
        if !self.is_full() {
            return Vec::new();
        }
        let (roomy, voters) = (self.consensus.roomy_voters(), self.consensus.other_voters().len() + 1);
        if roomy.len() > voters / 2 { roomy } else { Vec::new() }
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

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}
