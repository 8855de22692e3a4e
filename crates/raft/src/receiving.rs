//! When the followers that receive a snapshot last got on with it. While one installs it, it answers
//! no heartbeat; that it gets on is its sign of life then.

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
    /// How long ago a follower got on; `None` if it receives no snapshot.
    pub(crate) fn since(&self, follower: ReplicaId) -> Option<Duration> {
        self.0.lock().get(&follower).map(Instant::elapsed)
    }

    /// A follower is about to receive a snapshot, until this is dropped.
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
    /// More of it was done.
    pub(super) fn gets_on(&self) {
        self.receiving.0.lock().insert(self.follower, Instant::now());
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.receiving.0.lock().remove(&self.follower);
    }
}
