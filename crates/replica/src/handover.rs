//! The handover of the leadership.
//!
//! A target whose log is shorter than the leader's ignores the request, and openraft's
//! leader stops proposing once it has sent it. So new proposals are held first, until one
//! voter has the whole log.

use std::time::Duration;

use skv_raft::RaftView;
use skv_sharding::ReplicaId;

use crate::running::Running;

/// The longest time for which proposals are held before the transfer starts.
const CATCH_UP: Duration = Duration::from_millis(500);
/// The longest time until a new leader is seen.
const ELECTION: Duration = Duration::from_secs(3);

/// The time between two looks whether a majority still answers.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The reason why the leadership stayed where it was.
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
    /// Nobody can take over.
    #[error("no majority answers any more: the others are stopping too, or out of reach")]
    Alone,
}

impl Running {
    /// Hands the leadership to some voter before this replica stops. Gives up when no majority has answered
    /// for this long: when all servers of a group stop together, nobody is left to take over.
    pub async fn hand_over_to_stop(&self, alone_after: Duration) -> Result<ReplicaId, HandoverError> {
        tokio::select! {
            handed = self.hand_over(None) => handed,
            () = self.until_alone(alone_after) => Err(HandoverError::Alone),
        }
    }

    async fn until_alone(&self, after: Duration) {
        let watch = self.consensus.watch();
        while watch.view().quorum_silence.is_none_or(|silence| silence < after) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Hands the leadership to a voter: `to`, else the first that has the whole log. Returns once
    /// another leader was seen.
    pub async fn hand_over(&self, to: Option<ReplicaId>) -> Result<ReplicaId, HandoverError> {
        if !self.hints.is_leader() {
            return Err(HandoverError::NotLeader);
        }
        let voters = self.consensus.other_voters();
        match to {
            Some(to) if !voters.contains(&to) => return Err(HandoverError::NotAVoter(to)),
            None if voters.is_empty() => return Err(HandoverError::NoTarget),
            _ => {}
        }
        self.hand_over_to(to.map_or(voters, |to| vec![to])).await
    }

    /// Hands the leadership to the first of these voters that has the whole log.
    pub(crate) async fn hand_over_to(&self, targets: Vec<ReplicaId>) -> Result<ReplicaId, HandoverError> {
        let own = self.place.replica;
        let _hold = self.writes.hold();
        let target = self.consensus.await_view(CATCH_UP, |view| caught_up(view, &targets)).await;
        let target = target.ok_or(HandoverError::NobodyCaughtUp)?;

        tracing::info!(group = %self.place.group, %target, "handing the leadership over");
        self.consensus.transfer_leader(target).await.map_err(|_| HandoverError::NotLeader)?;
        let taken = |view: &RaftView| view.leader.filter(|leader| *leader != own);
        self.consensus.await_view(ELECTION, taken).await.ok_or(HandoverError::NotTaken)
    }
}

/// Returns a target whose log ends where the leader's does. One that went back in time lacks what it is
/// counted for.
fn caught_up(view: &RaftView, targets: &[ReplicaId]) -> Option<ReplicaId> {
    let counts = |id: &ReplicaId| view.followers.get(id).is_some_and(|follower| !follower.gone_back);
    targets.iter().copied().find(|id| counts(id) && view.matched(*id) == view.last_log)
}

#[cfg(test)]
mod tests {
    use skv_raft::Follower;
    use skv_raft::types::{LogId, leader};

    use super::*;

    #[test]
    fn no_replica_that_went_back_in_time_is_to_lead() {
        let (own, gone_back, whole) = (ReplicaId(1), ReplicaId(2), ReplicaId(3));
        let follower = |index, gone_back| {
            let matched = Some(LogId { leader_id: leader(1, own), index });
            Follower { matched, gone_back, ..Follower::default() }
        };
        let mut view = RaftView::new(own);
        view.last_log = Some(7);
        view.followers = [(gone_back, follower(7, true)), (whole, follower(6, false))].into();
        assert_eq!(caught_up(&view, &[gone_back, whole]), None);
        view.followers.insert(whole, follower(7, false));
        assert_eq!(caught_up(&view, &[gone_back, whole]), Some(whole));
    }
}
