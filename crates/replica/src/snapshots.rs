//! When to write a snapshot, and how much of the log to keep behind it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use skv_raft::types::LogId;
use tokio::time::Instant;

use super::Running;

/// How often the log is measured.
const INTERVAL: Duration = Duration::from_millis(500);
/// A snapshot that failed, for want of space for example, is tried again after this time.
const RETRY: Duration = Duration::from_mins(1);
/// A snapshot of which nothing was written for this long isn't waited for.
const STALL: Duration = Duration::from_mins(1);
/// A snapshot is written after this part of the last one's size was applied, if that is more
/// than the setting: of each byte that is written, this many more are for snapshots at most.
const PART: u64 = 4;

impl Running {
    /// Writes a snapshot whenever `log_bytes` were applied since the last one, or a quarter of
    /// what that has. The log is kept back to the snapshot before, so that a follower that is a
    /// little behind needs only entries.
    ///
    /// No snapshot is waited for: whoever asked for one, and however long it took, once it is there
    /// the log goes.
    pub(super) async fn snapshot_by_size(&self, log_bytes: u64) {
        let mut tick = tokio::time::interval(INTERVAL);
        let mut before = self.newest_snapshot();
        let mut asked: Option<Instant> = None;
        loop {
            tick.tick().await;
            let newest = self.newest_snapshot();
            if newest != before {
                if let Some(before) = before {
                    self.purge_to(before).await;
                }
                (before, asked) = (newest, None);
            }
            let last = self.snapshots.current().map_or(0, |snapshot| snapshot.length());
            let due = self.applied_bytes.load(Ordering::Relaxed) >= log_bytes.max(last / PART);
            if due && asked.is_none_or(|at| at.elapsed() >= RETRY) {
                asked = Some(Instant::now());
                // While one is written this does nothing. An error says that the replica ends.
                let _ = self.raft.trigger().snapshot().await;
            }
        }
    }

    /// Writes a snapshot of what is applied now, if none covers that yet; `None` if that didn't work.
    pub async fn snapshot(&self) -> Option<LogId> {
        let applied = self.raft.metrics().borrow_watched().last_applied?;
        let mut newest = self.newest_snapshot();
        while newest.is_none_or(|id| id.index < applied.index) {
            // While one is written this does nothing, and that one may be of less.
            self.raft.trigger().snapshot().await.ok()?;
            newest = Some(self.await_newer_snapshot(newest).await?);
        }
        newest
    }

    /// Waits for a newer snapshot than this, for as long as one is being written.
    async fn await_newer_snapshot(&self, than: Option<LogId>) -> Option<LogId> {
        loop {
            let written = self.snapshots.written().bytes();
            let newer = self.await_metrics(STALL, |now| now.snapshot.filter(|id| Some(*id) != than)).await;
            if newer.is_some() || self.snapshots.written().bytes() == written {
                return newer;
            }
        }
    }

    fn newest_snapshot(&self) -> Option<LogId> {
        self.raft.metrics().borrow_watched().snapshot
    }

    /// Drops the log that the newest snapshot covers.
    pub async fn purge(&self) {
        if let Some(covered) = self.newest_snapshot() {
            self.purge_to(covered).await;
        }
    }

    async fn purge_to(&self, covered: LogId) {
        if let Err(error) = self.raft.trigger().purge_log(covered.index).await {
            tracing::warn!(group = %self.place.group, %error, "the log can't be purged");
        }
    }
}
