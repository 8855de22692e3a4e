//! The readiness of a replica: it is ready if it is a voter of the committed membership that has
//! applied what was committed when it started, and has heard a leader lately. While the members change, a
//! new voter isn't ready yet: the group still depends on the one whose place it takes, and somebody who
//! stops another server because this one is ready would stop the group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skv_raft::{RaftView, Watch};
use tokio::time::Instant;

/// The time after which a leader that wasn't heard doesn't count.
const LEADER_SILENCE: Duration = Duration::from_secs(10);

/// The time without a leader's sign after which the quorum counts as lost: several elections.
const QUORUM_SILENCE: Duration = Duration::from_secs(5);

/// The state that readiness is judged by.
#[derive(Debug, Clone)]
pub struct Readiness {
    started: Instant,
    /// The time after its start within which a leader is heard, if there is one.
    hearing: Duration,
    /// True once a leader's log and this replica's were found to agree.
    agreed: Arc<AtomicBool>,
    heard: Arc<Mutex<Option<Instant>>>,
    /// The time since which the replica leads; `None` if it doesn't.
    leads_since: Arc<Mutex<Option<Instant>>>,
    caught_up: Arc<AtomicBool>,
}

/// A replica's knowledge of its group's quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quorum {
    /// There is one.
    Held,
    /// None was heard of, and not enough time has passed for that to mean anything.
    Unknown,
    /// There has been none for this time.
    Lost(Duration),
}

impl Default for Readiness {
    fn default() -> Self {
        let (agreed, heard, leads_since, caught_up) = Default::default();
        let (started, hearing) = (Instant::now(), Duration::ZERO);
        Readiness { started, hearing, agreed, heard, leads_since, caught_up }
    }
}

impl Readiness {
    /// Returns the state of a replica whose log has entries, and which a leader reaches within this time.
    pub(super) fn of_returned(hearing: Duration) -> Self {
        Readiness { hearing, ..Readiness::default() }
    }

    /// Returns true if this replica may vote. One that returned waits for a moment: if there is a
    /// leader, it finds out meanwhile whether the replica's disk went back in time, and what it voted.
    pub(super) fn may_vote(&self) -> bool {
        self.started.elapsed() >= self.hearing || self.agreed.load(Ordering::Relaxed)
    }

    /// Notes that a leader's log and this replica's agree.
    pub(super) fn agrees_with_leader(&self) {
        self.agreed.store(true, Ordering::Relaxed);
    }

    /// Notes that the replica leads, or doesn't.
    pub(super) fn leads(&self, leads: bool) {
        *self.leads_since.lock() = leads.then(Instant::now);
    }

    /// Notes that a leader has sent us something.
    pub fn heard_leader(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Waits until all is applied that was committed when the first leader was known.
    pub(super) async fn await_catch_up(&self, mut watch: Watch) {
        let mut committed_at_start = None;
        loop {
            let (committed, applied) = watch.progress();
            if committed_at_start.is_none() && watch.leader().0.is_some() {
                committed_at_start = committed;
            }
            if committed_at_start.is_some() && applied >= committed_at_start {
                break;
            }
            if watch.changed().await.is_err() {
                return;
            }
        }
        self.caught_up.store(true, Ordering::Relaxed);
    }

    /// Returns an error that says what is missing.
    pub fn check(&self, view: &RaftView) -> Result<(), String> {
        if let Some(failed) = &view.failed {
            return Err(failed.clone());
        }
        if !view.committed_members.voters.contains(&view.own) {
            return Err("not a voter of its group".into());
        }
        if view.committed_members.newcomers.contains(&view.own) {
            return Err("the change of members by which it becomes a voter isn't over".into());
        }
        if !self.caught_up.load(Ordering::Relaxed) {
            return Err("applying what was committed before it started".into());
        }
        if self.leader_heard(view) {
            return Ok(());
        }
        Err(format!("no leader with a quorum was heard for {LEADER_SILENCE:?}"))
    }

    /// Returns true if another replica that leads was heard within this time.
    pub(super) fn follows(&self, within: Duration) -> bool {
        self.heard.lock().is_some_and(|at| at.elapsed() < within)
    }

    /// Returns true if a leader was heard lately; a leader hears itself only with a quorum.
    fn leader_heard(&self, view: &RaftView) -> bool {
        self.silence(view).is_some_and(|silence| silence < LEADER_SILENCE)
    }

    /// Returns the time for which the group has had no quorum as far as this replica can tell; `None`
    /// if it has one.
    pub(super) fn quorum_lost(&self, view: &RaftView) -> Option<Duration> {
        match self.quorum(view) {
            Quorum::Lost(silence) => Some(silence),
            Quorum::Held | Quorum::Unknown => None,
        }
    }

    /// Returns what this replica knows of the group's quorum.
    pub(super) fn quorum(&self, view: &RaftView) -> Quorum {
        let silence = self.silence(view);
        match silence.unwrap_or_else(|| self.waits_since(view).elapsed()) {
            lost if lost >= QUORUM_SILENCE => Quorum::Lost(lost),
            _ if silence.is_some() => Quorum::Held,
            _ => Quorum::Unknown,
        }
    }

    /// Returns the time since which a replica that has heard of no quorum could have: one that leads has had
    /// nobody answer it before it led, and was no leader's concern.
    fn waits_since(&self, view: &RaftView) -> Instant {
        if view.leads() { self.leads_since.lock().unwrap_or_else(Instant::now) } else { self.started }
    }

    fn silence(&self, view: &RaftView) -> Option<Duration> {
        if view.leads() {
            // The only voter gets no answers: it is a quorum by itself.
            if view.members.voters.iter().all(|id| *id == view.own) {
                return Some(Duration::ZERO);
            }
            view.quorum_silence
        } else {
            self.heard.lock().map(|at| at.elapsed())
        }
    }
}

#[cfg(test)]
mod tests {
    use skv_raft::Members;
    use skv_sharding::ReplicaId;

    use super::*;

    /// Returns a leader that has heard of no quorum for long.
    fn silent_leader(voters: &[u64]) -> RaftView {
        let own = ReplicaId(1);
        let voters = voters.iter().map(|&id| ReplicaId(id)).collect();
        let members = Members { voters, ..Members::default() };
        let quorum_silence = Some(2 * LEADER_SILENCE);
        let committed_members = members.clone();
        RaftView { leader: Some(own), members, committed_members, quorum_silence, ..RaftView::new(own) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_returned_votes_when_it_agrees_with_a_leader_or_there_is_none() {
        assert!(Readiness::default().may_vote(), "a new one acknowledged nothing");
        let hearing = Duration::from_millis(500);
        let readiness = Readiness::of_returned(hearing);
        assert!(!readiness.may_vote());
        readiness.heard_leader();
        assert!(!readiness.may_vote(), "it may lack what it acknowledged");
        readiness.agrees_with_leader();
        assert!(readiness.may_vote());
        let alone = Readiness::of_returned(hearing);
        tokio::time::advance(hearing).await;
        assert!(alone.may_vote());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_nobody_has_answered_yet_has_lost_no_quorum_before_it_led() {
        let readiness = Readiness::default();
        let mut fresh = silent_leader(&[1, 2, 3]);
        fresh.quorum_silence = None;
        assert_eq!(readiness.quorum(&fresh), Quorum::Unknown);
        tokio::time::advance(10 * QUORUM_SILENCE).await;
        assert_eq!(readiness.quorum(&fresh), Quorum::Unknown, "it has begun to lead just now");
        readiness.leads(true);
        assert_eq!(readiness.quorum(&fresh), Quorum::Unknown);
        tokio::time::advance(QUORUM_SILENCE).await;
        assert_eq!(readiness.quorum(&fresh), Quorum::Lost(QUORUM_SILENCE));

        let follower = RaftView { leader: None, ..fresh };
        assert_eq!(readiness.quorum(&follower), Quorum::Lost(11 * QUORUM_SILENCE));
        readiness.heard_leader();
        assert_eq!(readiness.quorum(&follower), Quorum::Held);
        assert_eq!(Readiness::default().quorum(&follower), Quorum::Unknown, "it has just started");
    }

    /// Replica 3 is gone, and 4 takes its place: until that is over, 1 and 2 are both needed.
    #[test]
    fn a_new_voter_is_ready_when_no_quorum_needs_the_one_in_whose_place_it_comes() {
        let readiness = Readiness::default();
        readiness.caught_up.store(true, Ordering::Relaxed);
        readiness.heard_leader();
        let mut view = RaftView { leader: None, ..silent_leader(&[1, 2, 3, 4]) };
        view.committed_members.joint = Some([1, 2, 4].map(ReplicaId).into());
        view.committed_members.newcomers = [ReplicaId(4)].into();
        readiness.check(&view).unwrap();
        view.own = ReplicaId(4);
        assert!(readiness.check(&view).unwrap_err().contains("change of members"));
        view.committed_members = Members { voters: [1, 2, 4].map(ReplicaId).into(), ..Members::default() };
        readiness.check(&view).unwrap();
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
