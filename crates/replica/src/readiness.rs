//! Whether a replica is ready: a voter of the committed membership that has applied what
//! was committed when it started, and has heard a leader lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::Instant as _;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Raft, TypeConfig};

/// A leader that wasn't heard for this long doesn't count.
const LEADER_SILENCE: Duration = Duration::from_secs(10);

/// Without a leader's sign for this long the quorum counts as lost: several elections.
const QUORUM_SILENCE: Duration = Duration::from_secs(5);

/// What is needed to judge.
#[derive(Debug, Clone)]
pub struct Readiness {
    started: Instant,
    heard: Arc<Mutex<Option<Instant>>>,
    caught_up: Arc<AtomicBool>,
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness { started: Instant::now(), heard: Arc::default(), caught_up: Arc::default() }
    }
}

impl Readiness {
    /// A leader has sent us something.
    pub fn heard_leader(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Waits until all is applied that was committed when the first leader was known.
    pub(super) async fn await_catch_up(&self, raft: &Raft) {
        let mut metrics = raft.metrics();
        let mut committed_at_start = None;
        loop {
            {
                let now = metrics.borrow_watched();
                if committed_at_start.is_none() && now.current_leader.is_some() {
                    committed_at_start = now.cluster_committed;
                }
                if committed_at_start.is_some() && now.last_applied >= committed_at_start {
                    break;
                }
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
        self.caught_up.store(true, Ordering::Relaxed);
    }

    /// `Err` says what is missing.
    pub fn check(&self, metrics: &RaftMetrics<TypeConfig>) -> Result<(), String> {
        if let Err(fatal) = &metrics.running_state {
            return Err(fatal.to_string());
        }
        if !metrics.committed_membership_config.membership().voter_ids().any(|id| id == metrics.id) {
            return Err("not a voter of its group".into());
        }
        if !self.caught_up.load(Ordering::Relaxed) {
            return Err("applying what was committed before it started".into());
        }
        if self.leader_heard(metrics) {
            return Ok(());
        }
        Err(format!("no leader with a quorum was heard for {LEADER_SILENCE:?}"))
    }

    /// Whether another replica that leads was heard within this time.
    pub(super) fn follows(&self, within: Duration) -> bool {
        self.heard.lock().is_some_and(|at| at.elapsed() < within)
    }

    /// Whether a leader was heard lately; a leader hears itself only with a quorum.
    fn leader_heard(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        self.silence(metrics).is_some_and(|silence| silence < LEADER_SILENCE)
    }

    /// For how long the group has had no quorum as far as this replica can tell; `None` if
    /// it has one.
    pub(super) fn quorum_lost(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<Duration> {
        let silence = self.silence(metrics).unwrap_or_else(|| self.started.elapsed());
        (silence >= QUORUM_SILENCE).then_some(silence)
    }

    fn silence(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<Duration> {
        if metrics.current_leader == Some(metrics.id) {
            let mut voters = metrics.membership_config.membership().voter_ids();
            // Nobody answers the only voter: it is a quorum by itself.
            if voters.all(|id| id == metrics.id) {
                return Some(Duration::ZERO);
            }
            metrics.last_quorum_acked.map(|at| at.elapsed())
        } else {
            self.heard.lock().map(|at| at.elapsed())
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::type_config::alias::InstantOf;
    use openraft::{Membership, StoredMembership};
    use skv_sharding::ReplicaId;

    use super::*;

    /// What a leader measures that heard of no quorum for long.
    fn silent_leader(voters: &[u64]) -> RaftMetrics<TypeConfig> {
        let mut metrics = RaftMetrics::new_initial(ReplicaId(1));
        metrics.current_leader = Some(ReplicaId(1));
        let voters = voters.iter().map(|&id| ReplicaId(id)).collect();
        let membership = Membership::new_with_defaults(vec![voters], []);
        metrics.membership_config = Arc::new(StoredMembership::new(None, membership));
        metrics.committed_membership_config = Arc::clone(&metrics.membership_config);
        let long_ago = InstantOf::<TypeConfig>::now() - 2 * LEADER_SILENCE;
        metrics.last_quorum_acked = Some(long_ago.into());
        metrics
    }

    #[test]
    fn a_leader_is_ready_for_as_long_as_it_hears_of_a_quorum_and_alone_it_is_one() {
        let readiness = Readiness::default();
        readiness.caught_up.store(true, Ordering::Relaxed);

        let of_three = silent_leader(&[1, 2, 3]);
        assert!(readiness.check(&of_three).unwrap_err().contains("no leader with a quorum"));
        assert!(readiness.quorum_lost(&of_three).is_some());

        let alone = silent_leader(&[1]);
        readiness.check(&alone).unwrap();
        assert_eq!(readiness.quorum_lost(&alone), None);
    }
}
