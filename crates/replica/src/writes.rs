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
    /// The number of reasons for which proposals wait: the leadership is being handed over.
    holds: watch::Sender<usize>,
}

/// Holds proposals until it is dropped, as all others do that are held beside it. Proposals that waited are
/// then refused if another replica leads, or go on under the old leader.
pub(crate) struct Hold<'a>(&'a watch::Sender<usize>);

impl<'a> Hold<'a> {
    fn one_of(holds: &'a watch::Sender<usize>) -> Self {
        holds.send_modify(|holds| *holds += 1);
        Hold(holds)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|holds| *holds -= 1);
    }
}

impl WritePath {
    /// Opens the path; `parts` makes the parts of the proposing task.
    pub(crate) fn open(
        space: Space,
        memory: MemoryGate,
        parts: impl FnOnce(Space, MemoryGate, watch::Receiver<usize>) -> ProposerParts,
    ) -> Self {
        let (holds, held) = watch::channel(0);
        let proposer = Proposer::start(parts(space.clone(), memory.clone(), held));
        WritePath { proposer, space, memory, holds }
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
        *self.holds.borrow() > 0
    }

    /// Has proposals wait until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        Hold::one_of(&self.holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_wait_until_the_last_handover_is_over() {
        let (holds, held) = watch::channel(0);
        let (first, second) = (Hold::one_of(&holds), Hold::one_of(&holds));
        drop(first);
        assert_eq!(*held.borrow(), 1);
        drop(second);
        assert_eq!(*held.borrow(), 0);
    }
}
