//! Operations that wait: for a shard that is on its way, or because it changes as fast as it is copied.

use std::sync::Arc;
use std::time::Duration;

use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_replica::Running;
use skv_sharding::ShardId;
use skv_store::Rejection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::request::size_of;

/// Bytes of keys and values that may wait here for shards that are on their way, and as many for shards
/// that change as fast as they are copied.
const ROOM_BYTES: usize = 32 << 20;
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
    early: Arc<Semaphore>,
    /// For writes that are slowed down.
    slowed: Arc<Semaphore>,
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
    pub(super) fn new() -> Self {
        let room = || Arc::new(Semaphore::new(ROOM_BYTES));
        WaitingRoom { early: room(), slowed: room() }
    }

    /// Waits until a shard that is on its way here has come, or doesn't come any more. So that
    /// who was sent here by the source needn't ask again and again.
    pub(super) async fn await_arrival(&self, arriving: &Arriving) -> Result<(), Error> {
        let _permit = enter(&self.early, size_of(&arriving.operation))?;
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
        let Some(delay) = running.handoffs.slowed.delay(ShardId(command.shard)) else { return Ok(None) };
        let bytes = command.key.len() + command.value.len();
        Ok(Some(Delay { delay, _permit: enter(&self.slowed, bytes)? }))
    }
}

/// Takes the room where an operation of so many bytes waits.
fn enter(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
    let bytes = u32::try_from(bytes.saturating_add(OPERATION_BYTES)).unwrap_or(u32::MAX);
    let full = |_| Error::Overloaded("too many requests wait for shards that move".into());
    room.clone().try_acquire_many_owned(bytes).map_err(full)
}
