//! The moment to write a snapshot, and the length of the log to keep behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skv_raft::Consensus;
use skv_raft::types::LogId;
use skv_sharding::GroupId;
use skv_snapshot::{SnapshotDir, Spool};
use tokio::time::Instant;

/// The interval at which the log is measured.
const INTERVAL: Duration = Duration::from_millis(500);
/// The time after which a snapshot that failed, for want of space for example, is tried again.
const RETRY: Duration = Duration::from_mins(1);
/// The time after which a snapshot of which nothing was written isn't waited for.
const STALL: Duration = Duration::from_mins(1);
/// The part of the last snapshot's size after whose application the next one is written, if that is
/// more than the setting: for each byte that is written, at most this many more are for snapshots.
const PART: u64 = 4;

/// The snapshots of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    pub(crate) group: GroupId,
    pub(crate) consensus: Consensus,
    pub(crate) dir: Arc<SnapshotDir>,
    /// Bytes applied since the last snapshot.
    pub(crate) applied: Arc<AtomicU64>,
}

impl Snapshots {
    /// Makes room for a snapshot from the leader.
    pub(crate) fn spool(&self, length: u64) -> Spool {
        self.dir.spool(length)
    }

    /// Ends the writing of snapshots: none comes into the directory later.
    pub(crate) fn close(&self) {
        self.dir.close();
    }

    /// Returns the bytes of log that were applied since the last snapshot.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Writes a snapshot whenever `log_bytes` were applied since the last one, or a quarter of
    /// what that has. The log is kept back to the snapshot before, so that a follower that is a
    /// little behind needs only entries.
    ///
    /// No caller waits for a snapshot: it may be asked for by anybody, and take any time, but once it
    /// is there the log goes.
    pub(crate) async fn write_by_size(&self, log_bytes: u64) {
        let mut tick = tokio::time::interval(INTERVAL);
        let mut before = self.newest();
        let mut asked: Option<Instant> = None;
        loop {
            tick.tick().await;
            let newest = self.newest();
            if newest != before {
                if let Some(before) = before {
                    self.purge_to(before).await;
                }
                (before, asked) = (newest, None);
            }
            let last = self.dir.current().map_or(0, |snapshot| snapshot.length());
            let due = self.log_bytes() >= log_bytes.max(last / PART);
            if due && asked.is_none_or(|at| at.elapsed() >= RETRY) {
                asked = Some(Instant::now());
                // While one is written this does nothing. An error says that the replica ends.
                let _ = self.consensus.trigger_snapshot().await;
            }
        }
    }

    /// Writes a snapshot of what is applied now, if none covers that yet; `None` if that failed.
    pub(crate) async fn write(&self) -> Option<LogId> {
        let applied = self.consensus.watch().progress().1?;
        let mut newest = self.newest();
        while newest.is_none_or(|id| id.index < applied.index) {
            // While one is written this does nothing, and that one may cover less.
            self.consensus.trigger_snapshot().await.ok()?;
            newest = Some(self.await_newer(newest).await?);
        }
        newest
    }

    /// Waits for a newer snapshot than this, for as long as one is being written.
    async fn await_newer(&self, than: Option<LogId>) -> Option<LogId> {
        loop {
            let written = self.dir.written().bytes();
            let newer =
                self.consensus.await_view(STALL, |now| now.snapshot.filter(|id| Some(*id) != than)).await;
            if newer.is_some() || self.dir.written().bytes() == written {
                return newer;
            }
        }
    }

    fn newest(&self) -> Option<LogId> {
        self.consensus.watch().snapshot()
    }

    /// Drops the log that the newest snapshot covers.
    pub(crate) async fn purge(&self) {
        if let Some(covered) = self.newest() {
            self.purge_to(covered).await;
        }
    }

    async fn purge_to(&self, covered: LogId) {
        if let Err(error) = self.consensus.purge(covered.index).await {
            tracing::warn!(group = %self.group, %error, "the log can't be purged");
        }
    }
}
