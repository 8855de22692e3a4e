//! The snapshots that followers receive from this replica: their progress, and the one that is sent again.
//!
//! A follower that installs a snapshot answers no heartbeat; its progress is its sign of life then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skv_sharding::ReplicaId;
use skv_snapshot::SnapshotFile;
use tokio::time::Instant;

/// The time for which a snapshot whose transfer was interrupted is sent again, although there is a newer
/// one: the follower has a part of it.
const AGAIN: Duration = Duration::from_secs(30);

/// The followers of one leader that receive a snapshot now. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receiving(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The last progress of each, and the index of the last entry that its snapshot covers.
    followers: Mutex<BTreeMap<ReplicaId, (Instant, u64)>>,
    interrupted: Mutex<Option<(SnapshotFile, Instant)>>,
}

impl Receiving {
    /// Returns the time since a follower made progress; `None` if it receives no snapshot.
    pub(crate) fn since(&self, follower: ReplicaId) -> Option<Duration> {
        self.0.followers.lock().get(&follower).map(|(at, _)| at.elapsed())
    }

    /// Returns the index of the last entry that the snapshot covers which a follower receives.
    pub(crate) fn covered(&self, follower: ReplicaId) -> Option<u64> {
        self.0.followers.lock().get(&follower).map(|(_, index)| *index)
    }

    /// Notes that a follower is about to receive a snapshot, until the returned value is dropped.
    pub(crate) fn begin(&self, follower: ReplicaId, snapshot: &SnapshotFile) -> Transfer {
        self.0.followers.lock().insert(follower, (Instant::now(), snapshot.fingerprint().index));
        Transfer { receiving: self.clone(), follower, has_moved: AtomicBool::new(false) }
    }

    /// Returns the snapshot that is sent again because its transfer was interrupted.
    pub(crate) fn again(&self) -> Option<SnapshotFile> {
        let interrupted = self.0.interrupted.lock();
        interrupted.as_ref().filter(|(_, at)| at.elapsed() < AGAIN).map(|(snapshot, _)| snapshot.clone())
    }

    /// Notes that the transfer of a snapshot was interrupted, or that there is none to go on with.
    pub(crate) fn set_again(&self, snapshot: Option<SnapshotFile>) {
        *self.0.interrupted.lock() = snapshot.map(|snapshot| (snapshot, Instant::now()));
    }
}

/// The transfer of one snapshot to a follower.
#[derive(Debug)]
pub(crate) struct Transfer {
    receiving: Receiving,
    follower: ReplicaId,
    has_moved: AtomicBool,
}

impl Transfer {
    /// Notes that the follower made progress.
    pub(super) fn gets_on(&self) {
        self.has_moved.store(true, Ordering::Relaxed);
        self.lives();
    }

    /// Returns true if the follower ever made progress.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved.load(Ordering::Relaxed)
    }

    /// Notes that the follower answered.
    pub(super) fn lives(&self) {
        if let Some((at, _)) = self.receiving.0.followers.lock().get_mut(&self.follower) {
            *at = Instant::now();
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.receiving.0.followers.lock().remove(&self.follower);
    }
}
