//! When to write a snapshot, and how much of the log to keep behind it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;

use super::Running;
use crate::raft::types::LogId;

/// How often the log is measured.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a snapshot is waited for, before it is asked for again.
const TIMEOUT: Duration = Duration::from_mins(1);
/// A snapshot is written after this part of the last one's size was applied, if that is more
/// than the setting: of each byte that is written, this many more are for snapshots at most.
const PART: u64 = 4;

impl Running {
    /// Writes a snapshot whenever `log_bytes` were applied since the last one, or a quarter of
    /// what that has. The log is kept back to the snapshot before, so that a follower that is a
    /// little behind needs only entries.
    pub(super) async fn snapshot_by_size(&self, log_bytes: u64) {
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tick.tick().await;
            let last = self.snapshots.current().map_or(0, |snapshot| snapshot.length());
            if self.applied_bytes.load(Ordering::Relaxed) < log_bytes.max(last / PART) {
                continue;
            }
            let before = self.raft.metrics().borrow_watched().snapshot;
            if self.snapshot().await.is_some()
                && let Some(before) = before
                && let Err(error) = self.raft.trigger().purge_log(before.index).await
            {
                tracing::warn!(group = %self.place.group, %error, "the log can't be purged");
            }
        }
    }

    /// Writes a snapshot of what is applied now, if none covers that yet; `None` if that didn't work.
    pub async fn snapshot(&self) -> Option<LogId> {
        let (applied, mut newest) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.last_applied?, metrics.snapshot)
        };
        while newest.is_none_or(|id| id.index < applied.index) {
            // While one is written this does nothing, and that one may be of less.
            self.raft.trigger().snapshot().await.ok()?;
            newest = self.await_metrics(TIMEOUT, |now| Some(now.snapshot).filter(|id| *id != newest)).await?;
        }
        newest
    }

    /// Drops the log that the newest snapshot covers.
    pub async fn purge(&self) {
        let covered = self.raft.metrics().borrow_watched().snapshot;
        if let Some(covered) = covered
            && let Err(error) = self.raft.trigger().purge_log(covered.index).await
        {
            tracing::warn!(group = %self.place.group, %error, "the log can't be purged");
        }
    }
}
