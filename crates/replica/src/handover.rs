//! Handing the leadership over.
//!
//! A target whose log is shorter than the leader's ignores the request, and openraft's
//! leader stops proposing once it has sent it. So new proposals are held first, until one
//! voter has the whole log.

use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use skv_sharding::ReplicaId;
use tokio::sync::watch;

use super::{Running, TypeConfig};

/// How long proposals are held at most before the transfer starts.
const CATCH_UP: Duration = Duration::from_millis(500);
/// How long a new leader may take to be seen.
const ELECTION: Duration = Duration::from_secs(3);

/// Why the leadership stayed where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// This replica has no leadership to give.
    #[error("this replica is not the leader")]
    NotLeader,
    /// There is nobody else to lead.
    #[error("there is no other voter to hand the leadership to")]
    NoTarget,
    /// The asked replica can't lead.
    #[error("{0} is not another voter of the group")]
    NotAVoter(ReplicaId),
    /// No voter got the whole log while proposals were held.
    #[error("no voter caught up within {CATCH_UP:?}; the leadership stays here")]
    NobodyCaughtUp,
    /// The target didn't take over.
    #[error("no other leader was seen within {ELECTION:?} after the transfer")]
    NotTaken,
}

/// Holds proposals until it is dropped; those that waited are then refused by the new
/// order of things, or go on under the old one.
struct Hold<'a>(&'a watch::Sender<bool>);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Running {
    /// Hands the leadership to a voter: `to`, else whoever has the whole log first. Returns
    /// once another leader was seen.
    pub async fn hand_over(&self, to: Option<ReplicaId>) -> Result<ReplicaId, HandoverError> {
        let own = self.place.replica;
        if !self.hints.is_leader() {
            return Err(HandoverError::NotLeader);
        }
        let voters: Vec<ReplicaId> = self.raft.voter_ids().filter(|id| *id != own).collect();
        match to {
            Some(to) if !voters.contains(&to) => return Err(HandoverError::NotAVoter(to)),
            None if voters.is_empty() => return Err(HandoverError::NoTarget),
            _ => {}
        }
        let targets = to.map_or(voters, |to| vec![to]);

        self.hold.send_replace(true);
        let _hold = Hold(&self.hold);
        let target = self.await_metrics(CATCH_UP, |metrics| caught_up(metrics, &targets)).await;
        let target = target.ok_or(HandoverError::NobodyCaughtUp)?;

        tracing::info!(group = %self.place.group, %target, "handing the leadership over");
        self.raft.trigger().transfer_leader(target).await.map_err(|_| HandoverError::NotLeader)?;
        let taken =
            |metrics: &RaftMetrics<TypeConfig>| metrics.current_leader.filter(|leader| *leader != own);
        self.await_metrics(ELECTION, taken).await.ok_or(HandoverError::NotTaken)
    }

    /// Waits until `pick` finds something in the metrics, at most for `timeout`.
    pub(super) async fn await_metrics<T>(
        &self,
        timeout: Duration,
        mut pick: impl FnMut(&RaftMetrics<TypeConfig>) -> Option<T>,
    ) -> Option<T> {
        let mut metrics = self.raft.metrics();
        let found = async {
            loop {
                if let Some(found) = pick(&metrics.borrow_watched()) {
                    return Some(found);
                }
                metrics.changed().await.ok()?;
            }
        };
        tokio::time::timeout(timeout, found).await.ok().flatten()
    }
}

/// A target whose log ends where the leader's does.
fn caught_up(metrics: &RaftMetrics<TypeConfig>, targets: &[ReplicaId]) -> Option<ReplicaId> {
    let replication = metrics.replication.as_ref()?;
    let whole = |id: &&ReplicaId| {
        let matched = replication.get(id).copied().flatten();
        matched.map(|log_id| log_id.index) == metrics.last_log_index
    };
    targets.iter().find(whole).copied()
}
