//! The last time at which each follower that receives a snapshot made progress with it. A follower
//! that installs a snapshot answers no heartbeat; its progress is its sign of life then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skv_sharding::ReplicaId;
use tokio::time::Instant;

/// The followers of one leader that receive a snapshot now. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receiving(Arc<Mutex<BTreeMap<ReplicaId, Instant>>>);

impl Receiving {
    /// Returns the time since a follower made progress; `None` if it receives no snapshot.
    pub(crate) fn since(&self, follower: ReplicaId) -> Option<Duration> {
        self.0.lock().get(&follower).map(Instant::elapsed)
    }

    /// Notes that a follower is about to receive a snapshot, until the returned value is dropped.
    pub(crate) fn begin(&self, follower: ReplicaId) -> Transfer {
        let transfer = Transfer { receiving: self.clone(), follower };
        transfer.gets_on();
        transfer
    }
}

/// One snapshot on its way to a follower.
#[derive(Debug)]
pub(crate) struct Transfer {
    receiving: Receiving,
    follower: ReplicaId,
}

impl Transfer {
    /// Notes that the follower made progress.
    pub(super) fn gets_on(&self) {
        self.receiving.0.lock().insert(self.follower, Instant::now());
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.receiving.0.lock().remove(&self.follower);
    }
}
