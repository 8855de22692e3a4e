//! Operations that wait: for a shard that is on its way, or because it changes as fast as it is copied.

use std::sync::Arc;
use std::time::Duration;

use skv_memory::Budget;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_replica::Running;
use skv_sharding::ShardId;
use skv_store::Rejection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::request::size_of;

/// Bytes of keys and values that may wait here, if memory isn't scarce: half of them for shards that are on
/// their way, and half for shards that change as fast as they are copied.
const WAITING_BYTES: usize = 64 << 20;
/// Bytes that an operation takes of that beside its key and value.
const OPERATION_BYTES: usize = 16 << 10;
/// The longest time for which an operation waits for its shard. Its sender then looks for it elsewhere.
const ARRIVAL: Duration = Duration::from_secs(2);
/// The interval at which an operation looks for its shard.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The room in which operations wait.
#[derive(Debug, Clone)]
pub(super) struct WaitingRoom {
    /// For operations that wait for their shard.
    early: Half,
    /// For writes that are slowed down.
    slowed: Half,
}

/// A half of the room.
#[derive(Debug, Clone)]
struct Half {
    places: Arc<Semaphore>,
    bytes: usize,
}

/// An operation whose shard is on its way to a replica here.
pub(super) struct Arriving {
    pub(super) running: Arc<Running>,
    pub(super) shard: ShardId,
    pub(super) operation: Operation,
}

impl Arriving {
    /// Returns what the sender is told of a shard that didn't come in time.
    pub(super) fn in_vain(&self) -> Error {
        let (group, shard) = (self.running.place.group, self.shard);
        tracing::debug!(%group, %shard, "requests wait in vain for a shard on its way");
        Error::ShardMoving { group, target: None }
    }
}

/// The time that a write has to wait, with the room that it takes meanwhile.
pub(super) struct Delay {
    delay: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Delay {
    pub(super) async fn pass(self) {
        tokio::time::sleep(self.delay).await;
    }
}

impl WaitingRoom {
    pub(super) fn new(budget: &Budget) -> Self {
        let bytes = (budget.server_buffer(WAITING_BYTES) / 2).max(OPERATION_BYTES);
        let half = || Half { places: Arc::new(Semaphore::new(bytes)), bytes };
        WaitingRoom { early: half(), slowed: half() }
    }

    /// Waits until a shard that is on its way here has come, or doesn't come any more. So that
    /// who was sent here by the source needn't ask again and again.
    pub(super) async fn await_arrival(&self, arriving: &Arriving) -> Result<(), Error> {
        let _permit = self.early.enter(size_of(&arriving.operation))?;
        let store = &arriving.running.store;
        let arrives = || matches!(store.serves(arriving.shard), Err(Rejection::Arriving { .. }));
        let deadline = Instant::now() + ARRIVAL;
        while arrives() {
            if Instant::now() >= deadline {
                // One that leads no more would wait for ever.
                arriving.running.reads.pass().await?;
                return Err(arriving.in_vain());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Returns how long a write of a shard has to wait that changes as fast as it is copied.
    pub(super) fn slow_down(&self, running: &Running, command: &v1::Command) -> Result<Option<Delay>, Error> {
        let Some(delay) = running.handoffs.delays.delay(ShardId(command.shard)) else { return Ok(None) };
        let bytes = command.key.len() + command.value.len();
        Ok(Some(Delay { delay, _permit: self.slowed.enter(bytes)? }))
    }
}

impl Half {
    /// Takes the room where an operation of this size waits: all of it, if it has more.
    fn enter(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = bytes.saturating_add(OPERATION_BYTES).min(self.bytes) as u32;
        let full = |_| Error::Overloaded("too many requests wait for shards that move".into());
        self.places.clone().try_acquire_many_owned(bytes).map_err(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Returns the number of operations of this size that wait at the same time.
    fn entered(limit: Option<u64>, bytes: usize) -> usize {
        let room = WaitingRoom::new(&Budget::new(limit));
        let entered: Vec<_> = (0..10_000).map_while(|_| room.early.enter(bytes).ok()).collect();
        assert!(room.slowed.enter(bytes).is_ok(), "they don't take the room of others");
        entered.len()
    }

    #[test]
    fn little_waits_where_memory_is_scarce() {
        assert_eq!(entered(None, MIB), 31);
        assert_eq!(entered(Some(128 << 20), MIB), 3);
        assert_eq!(entered(None, 0), 2048);
        assert_eq!(entered(Some(128 << 20), 0), 256);
    }

    #[test]
    fn an_operation_that_is_larger_than_the_room_waits_alone() {
        assert_eq!(entered(Some(128 << 20), 16 * MIB), 1);
        assert_eq!(entered(Some(0), 0), 1);
    }
}
