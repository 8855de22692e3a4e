//! The way of writes into the log: the room that they need, and the queue before it.

use skv_log::{Reservation, Space};
use skv_proto::{Error, v1};
use tokio::sync::watch;

use crate::memory::MemoryGate;
use crate::propose::{Outcomes, Proposer, ProposerParts, no_room};

/// The way of writes into a replica's log.
#[derive(Debug)]
pub struct WritePath {
    proposer: Proposer,
    space: Space,
    memory: MemoryGate,
    /// While true, proposals wait: the leadership is being handed over.
    hold: watch::Sender<bool>,
}

/// Holds proposals until it is dropped; proposals that waited are then refused if another replica
/// leads, or go on under the old leader.
pub(crate) struct Hold<'a>(&'a watch::Sender<bool>);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl WritePath {
    /// Opens the path; `parts` makes the parts of the proposing task.
    pub(crate) fn open(
        space: Space,
        memory: MemoryGate,
        parts: impl FnOnce(Space, MemoryGate, watch::Receiver<bool>) -> ProposerParts,
    ) -> Self {
        let (hold, held) = watch::channel(false);
        let proposer = Proposer::start(parts(space.clone(), memory.clone(), held));
        WritePath { proposer, space, memory, hold }
    }

    /// Returns the gate for what makes the data grow.
    pub fn memory(&self) -> &MemoryGate {
        &self.memory
    }

    /// Proposes commands and waits until they are applied. `Err` stands for all of them.
    pub async fn submit(&self, commands: Vec<v1::Command>) -> Outcomes {
        self.proposer.submit(commands).await
    }

    /// Reserves room for an entry that isn't made of commands.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        self.space.reserve(bytes).await.map_err(no_room)
    }

    /// Returns true if there is no room for the next segment of the log.
    pub(crate) fn is_full(&self) -> bool {
        self.space.is_full()
    }

    /// Returns true while proposals wait.
    pub(crate) fn is_held(&self) -> bool {
        *self.hold.borrow()
    }

    /// Has proposals wait until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.hold.send_replace(true);
        Hold(&self.hold)
    }
}
