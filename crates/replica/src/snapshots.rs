//! The moment to write a snapshot, and the part of the log that is purged then.
//!
//! The log is kept back to the snapshot before; and for a follower that is behind and alive, or receives a
//! snapshot, back to at most four more. A full disk keeps nothing for others. Files in memory that leave no
//! room for data keep nothing at all behind the newest snapshot.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skv_log::Space;
use skv_memory::Budget;
use skv_raft::types::LogId;
use skv_raft::{Consensus, RaftView};
use skv_sharding::GroupId;
use skv_snapshot::{Fingerprint, SnapshotDir, Spool};
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
/// The part of the room for data from which on a log in memory is much, if there is no room.
const SHARE: u64 = 16;
/// The number of snapshots for which the log is kept for followers that are behind: about as much as the
/// last of them has. From then on another snapshot costs less.
const KEPT: usize = 4;
/// The time without a sign of life after which the log isn't kept for a follower.
const GONE: Duration = Duration::from_secs(10);

/// The snapshots of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    pub(crate) group: GroupId,
    pub(crate) consensus: Consensus,
    pub(crate) dir: Arc<SnapshotDir>,
    /// Bytes applied since the last snapshot.
    pub(crate) applied: Arc<AtomicU64>,
    /// The time at which the newest snapshot came, or the replica was started.
    pub(crate) renewed: Arc<Mutex<Instant>>,
    /// The room in the log.
    pub(crate) space: Space,
    pub(crate) memory: Budget,
}

impl Snapshots {
    /// Returns the bytes that are here of a snapshot whose transfer from the leader was interrupted.
    pub(crate) async fn held(&self, snapshot: Fingerprint) -> u64 {
        // One of which nothing is known can't be told from others.
        if snapshot.checksum == 0 {
            return 0;
        }
        self.dir.held(snapshot).await.unwrap_or_else(|error| {
            tracing::warn!(group = %self.group, %error, "what is there of a snapshot can't be looked at");
            0
        })
    }

    /// Makes room for a snapshot from the leader, from this byte on.
    pub(crate) fn receive(&self, snapshot: Fingerprint, from: u64) -> Spool {
        if snapshot.checksum == 0 { self.dir.spool(snapshot.length) } else { self.dir.resume(snapshot, from) }
    }

    /// Ends the writing of snapshots: none comes into the directory later.
    pub(crate) async fn close(&self) -> io::Result<()> {
        self.dir.closed().await
    }

    /// Returns the time since the newest snapshot came, or since the replica was started.
    pub(crate) fn age(&self) -> Duration {
        self.renewed.lock().elapsed()
    }

    /// Returns the bytes of log that were applied since the last snapshot.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Writes a snapshot whenever `log_bytes` were applied since the last one, or a quarter of
    /// what that has. The log is kept back to the snapshot before, so that a follower that is a
    /// little behind needs only entries; and further back, within limits, for one that receives a
    /// snapshot or is catching up: else it would need one snapshot after the other.
    ///
    /// Where files are in memory and leave no room for data, another one is due sooner, and the log goes at
    /// once: nothing else might ever make room.
    ///
    /// No caller waits for a snapshot: it may be asked for by anybody, and take any time, but once it
    /// is there the log goes.
    pub(crate) async fn write_by_size(&self, log_bytes: u64) {
        let mut tick = tokio::time::interval(INTERVAL);
        let mut snapshots: VecDeque<LogId> = self.newest().into_iter().collect();
        let (mut asked, mut purged) = (None::<Instant>, None);
        loop {
            tick.tick().await;
            let newest = self.newest();
            if newest.as_ref() != snapshots.back() {
                snapshots.extend(newest);
                *self.renewed.lock() = Instant::now();
                asked = None;
            }
            if snapshots.len() > 1 {
                let needed = self.needed_by_followers();
                for _ in 0..unneeded(&snapshots, needed) {
                    if let Some(unneeded) = snapshots.pop_front() {
                        self.purge_to(unneeded).await;
                    }
                }
            }
            let last = self.dir.current().map_or(0, |snapshot| snapshot.length());
            let mut after = log_bytes.max(last / PART);
            if self.memory.is_full_of_files() {
                after = after.min(self.memory.edge() / SHARE);
                if let Some(newest) = newest.filter(|newest| purged != Some(*newest)) {
                    self.purge_to(newest).await;
                    purged = Some(newest);
                }
            }
            let due = self.log_bytes() >= after;
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

    /// Returns the last entry that a follower has, or will have soon, which is behind: it needs the log
    /// from there on. A full disk is no place to keep it for others.
    fn needed_by_followers(&self) -> Option<u64> {
        if self.space.is_full() {
            return None;
        }
        self.consensus.sent_again().into_iter().chain(needed(&self.consensus.view())).min()
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

/// Returns the number of the oldest of these snapshots whose log isn't needed any more, by a follower that
/// has it up to `needed`. The newest but one is kept in any case, and no more than some for followers.
fn unneeded(snapshots: &VecDeque<LogId>, needed: Option<u64>) -> usize {
    let all = snapshots.len().saturating_sub(1);
    let too_many = all.saturating_sub(KEPT);
    let unneeded = snapshots.iter().take(all).take_while(|id| needed.is_none_or(|needed| id.index <= needed));
    unneeded.count().max(too_many)
}

/// Returns the last entry that the last of the followers has which give signs of life, and that don't
/// need a snapshot anyway.
fn needed(view: &RaftView) -> Option<u64> {
    let others = view.followers.iter().filter(|(id, _)| **id != view.own).map(|(_, follower)| follower);
    let alive = others.filter(|follower| {
        let signs = follower.silence.into_iter().chain(follower.installing);
        signs.min().is_some_and(|silence| silence < GONE)
    });
    let purged = view.purged.map(|id| id.index);
    let have = alive.filter_map(|follower| follower.matched.map(|id| id.index).max(follower.snapshot));
    have.filter(|index| Some(*index) >= purged).min()
}

#[cfg(test)]
mod tests {
    use skv_raft::Follower;
    use skv_raft::types::leader;
    use skv_sharding::ReplicaId;

    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(leader(1, ReplicaId(1)), index)
    }

    fn snapshots(indexes: impl IntoIterator<Item = u64>) -> VecDeque<LogId> {
        indexes.into_iter().map(id).collect()
    }

    #[test]
    fn the_log_is_kept_back_to_the_snapshot_before() {
        assert_eq!(unneeded(&snapshots([]), None), 0);
        assert_eq!(unneeded(&snapshots([10]), None), 0);
        assert_eq!(unneeded(&snapshots([10, 20]), None), 1);
        assert_eq!(unneeded(&snapshots([10, 20, 30]), None), 2);
    }

    #[test]
    fn the_log_is_kept_for_a_follower_but_not_for_ever() {
        assert_eq!(unneeded(&snapshots([10, 20, 30]), Some(25)), 2, "it needs what comes after");
        assert_eq!(unneeded(&snapshots([10, 20, 30]), Some(20)), 2);
        assert_eq!(unneeded(&snapshots([10, 20, 30]), Some(19)), 1);
        assert_eq!(unneeded(&snapshots([10, 20, 30]), Some(5)), 0);
        let many = snapshots((1..=KEPT as u64 + 4).map(|number| 10 * number));
        assert_eq!(unneeded(&many, Some(5)), 3);
    }

    #[test]
    fn followers_that_are_gone_or_need_a_snapshot_keep_no_log() {
        let mut view = RaftView::new(ReplicaId(1));
        view.purged = Some(id(100));
        let mut set = |follower: u64, matched: u64, silence: u64| {
            let (matched, silence) = (Some(id(matched)), Some(Duration::from_secs(silence)));
            let follower_of = Follower { matched, silence, ..Follower::default() };
            view.followers.insert(ReplicaId(follower), follower_of);
            needed(&view)
        };
        assert_eq!(set(1, 101, 0), None, "the leader isn't behind");
        assert_eq!(set(2, 300, 0), Some(300));
        assert_eq!(set(3, 200, 1), Some(200));
        assert_eq!(set(3, 200, 60), Some(300), "it is gone");
        assert_eq!(set(3, 99, 1), Some(300), "its next entry is gone");
        view.followers.get_mut(&ReplicaId(3)).unwrap().snapshot = Some(250);
        assert_eq!(needed(&view), Some(250), "it has a snapshot soon");
        let receiving = view.followers.get_mut(&ReplicaId(3)).unwrap();
        (receiving.silence, receiving.installing) = (Some(Duration::from_mins(1)), Some(Duration::ZERO));
        assert_eq!(needed(&view), Some(250), "it answers no heartbeat, but progresses");
    }
}
