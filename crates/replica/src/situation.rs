//! A leader's view of its group, and the changes of its members that are safe then. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use skv_raft::RaftView;
use skv_sharding::{Replica, ReplicaId};

/// The time within which an answer shows that a replica is alive. Silence for as long is enough to
/// replace a replica whose server itself reports that it was started again.
const ALIVE: Duration = Duration::from_secs(1);

/// The admission of one replica, in the place of at most one other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) joins: ReplicaId,
    pub(super) server: String,
    pub(super) leaves: Option<ReplicaId>,
}

/// The steps by which a replica stops being a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// No step is needed: it is no member.
    Done,
    /// It is a learner, whom no quorum needs.
    Learner,
    /// It is a voter, and those that stay are a quorum without it.
    Voter,
}

/// The reason why a replica was not taken out of its group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    /// Only the leader changes members.
    #[error("this replica is not the leader")]
    NotLeader,
    /// Without it there would be no group.
    #[error("{0} is the only voter of its group")]
    LastVoter(ReplicaId),
    /// The leader doesn't remove itself.
    #[error("{0} leads the group: hand the leadership over first")]
    Leads(ReplicaId),
    /// Another change isn't over.
    #[error("another change of members is in progress; ask again when it is over")]
    ChangeInProgress,
    /// Those that stay couldn't go on.
    #[error(
        "of the {staying} voters that would stay {able} answer and have the whole log, but {needed} are needed; ask \
         again when more have caught up"
    )]
    NoQuorum {
        /// The number of voters that answer and have the whole log.
        able: usize,
        /// The number of voters that must.
        needed: usize,
        /// The number of voters that would stay.
        staying: usize,
    },
    /// The removal was begun.
    #[error("it isn't known whether {0} is a member now: {1}; ask again")]
    Unfinished(ReplicaId, String),
}

/// A leader's view of its group when it looks around.
pub(super) struct Situation<'a> {
    pub(super) view: &'a RaftView,
    /// The time since it became the leader.
    pub(super) leads_for: Duration,
    pub(super) replace_after: Duration,
}

impl Situation<'_> {
    /// Returns the time since a replica last gave a sign of life. One that installs a snapshot
    /// answers nothing meanwhile, but makes progress with that.
    pub(super) fn silence(&self, id: ReplicaId) -> Duration {
        let unanswered = self.unanswered(id);
        let installing = self.view.followers.get(&id).and_then(|follower| follower.installing);
        installing.map_or(unanswered, |got_on| got_on.min(unanswered))
    }

    /// Returns the time since a replica last answered; of one that never answered this leader, the
    /// time since the leader became one.
    fn unanswered(&self, id: ReplicaId) -> Duration {
        let silence = self.view.followers.get(&id).and_then(|follower| follower.silence);
        silence.unwrap_or(self.leads_for)
    }

    /// Returns true if a replica can acknowledge entries.
    fn alive(&self, id: ReplicaId) -> bool {
        id == self.view.own || self.unanswered(id) < ALIVE && !self.has_gone_back(id)
    }

    /// Returns true if a replica lost what it had acknowledged: it doesn't count any more, whatever its
    /// log holds later, and another one takes its place.
    fn has_gone_back(&self, id: ReplicaId) -> bool {
        self.view.followers.get(&id).is_some_and(|follower| follower.gone_back)
    }

    /// Returns the admissions that are safe now: the replica that leaves has been silent for long
    /// enough, and those that stay are a quorum.
    ///
    /// Only the managers know the number of replicas that are wanted. So a replica in whose place nobody
    /// leaves is admitted only if they named it knowing the voters that there are now: a list from before
    /// the last change of members may name a replica that isn't wanted any more.
    pub(super) fn admissions(
        &self,
        candidates: &[Replica],
        known_voters: Option<&BTreeSet<ReplicaId>>,
        instance: impl Fn(ReplicaId) -> Option<String>,
    ) -> Vec<Admission> {
        if !self.view.is_settled() {
            return Vec::new();
        }
        let voters = &self.view.members.voters;
        let newcomers = candidates.iter().filter(|candidate| !voters.contains(&candidate.id));
        let admissions = newcomers.filter_map(|candidate| self.admission(voters, candidate, &instance));
        admissions.filter(|admission| admission.leaves.is_some() || known_voters == Some(voters)).collect()
    }

    fn admission(
        &self,
        voters: &BTreeSet<ReplicaId>,
        candidate: &Replica,
        instance: impl Fn(ReplicaId) -> Option<String>,
    ) -> Option<Admission> {
        let mut servers = self.view.members.servers.iter();
        let leaves = servers.find(|(id, server)| voters.contains(*id) && **server == candidate.server);
        let leaves = leaves.map(|(id, _)| *id);
        if let Some(old) = leaves {
            let restarted = instance(old).is_some_and(|instance| instance != candidate.instance);
            let gone = restarted || self.has_gone_back(old);
            let needed = if gone { ALIVE } else { self.replace_after };
            if old == self.view.own || self.silence(old) < needed {
                return None;
            }
        }
        let staying = voters.iter().filter(|id| Some(**id) != leaves);
        let alive = staying.filter(|id| self.alive(**id)).count();
        (alive > voters.len() / 2).then(|| Admission {
            joins: candidate.id,
            server: candidate.server.clone(),
            leaves,
        })
    }

    /// Returns a learner that hasn't answered for as long as makes a voter replaceable: its admission
    /// failed, and should it come back, it asks again.
    pub(super) fn lost_learner(&self) -> Option<ReplicaId> {
        if !self.view.is_settled() {
            return None;
        }
        let voters = &self.view.members.voters;
        let mut learners = self.view.members.servers.keys().copied();
        learners.find(|id| !voters.contains(id) && self.silence(*id) >= self.replace_after)
    }

    /// Returns the steps that remove a replica safely now. Those that stay must be a quorum that is
    /// alive and has the log up to `whole_log`: else the group might stop, or depend on fewer copies
    /// than it was promised.
    pub(super) fn removal(&self, id: ReplicaId, whole_log: Option<u64>) -> Result<Removal, RemovalError> {
        if !self.view.leads() {
            return Err(RemovalError::NotLeader);
        }
        if !self.view.is_settled() {
            return Err(RemovalError::ChangeInProgress);
        }
        let mut staying = self.view.members.voters.clone();
        if !staying.remove(&id) {
            let is_learner = self.view.members.servers.contains_key(&id);
            return Ok(if is_learner { Removal::Learner } else { Removal::Done });
        }
        if staying.is_empty() {
            return Err(RemovalError::LastVoter(id));
        }
        if id == self.view.own {
            return Err(RemovalError::Leads(id));
        }
        let able = staying.iter().filter(|id| self.alive(**id) && self.has(**id, whole_log)).count();
        let needed = staying.len() / 2 + 1;
        if able < needed {
            return Err(RemovalError::NoQuorum { able, needed, staying: staying.len() });
        }
        Ok(Removal::Voter)
    }

    fn has(&self, id: ReplicaId, whole_log: Option<u64>) -> bool {
        id == self.view.own || self.view.matched(id) >= whole_log && !self.has_gone_back(id)
    }
}

#[cfg(test)]
mod tests {
    use skv_raft::types::LogId;
    use skv_raft::{Follower, Members};

    use super::*;

    const LEADER: ReplicaId = ReplicaId(1);
    const LAST: u64 = 50;
    const REPLACE_AFTER: Duration = Duration::from_secs(30);

    fn name(id: u64) -> String {
        format!("s{id}")
    }

    /// A group of voters 1 to `voters`, led by 1; all answer and have the whole log.
    struct Group(RaftView);

    impl Group {
        fn of(voters: u64) -> Self {
            let mut group = Group(RaftView { leader: Some(LEADER), ..RaftView::new(LEADER) });
            group.0.last_log = Some(LAST);
            group.set_members(1..=voters, 1..=voters);
            (1..=voters).for_each(|id| group.set(id, Some(Duration::ZERO), LAST));
            group
        }

        fn set_members(&mut self, voters: std::ops::RangeInclusive<u64>, all: std::ops::RangeInclusive<u64>) {
            let servers = all.map(|id| (ReplicaId(id), name(id))).collect();
            let voters = voters.map(ReplicaId).collect();
            self.0.members = Members { voters, servers, ..Members::default() };
            self.0.membership_is_committed = true;
        }

        /// Sets the time since a replica last answered, and the index up to which its log is the
        /// leader's.
        fn set(&mut self, id: u64, silence: Option<Duration>, matched: u64) {
            let matched = Some(LogId::new(skv_raft::types::leader(1, LEADER), matched));
            self.0.followers.insert(ReplicaId(id), Follower { matched, silence, ..Follower::default() });
        }

        fn silent(&mut self, id: u64, silence: Duration) {
            self.set(id, Some(silence), LAST);
        }

        fn go_back(&mut self, id: u64) {
            self.0.followers.get_mut(&ReplicaId(id)).unwrap().gone_back = true;
        }

        fn install(&mut self, id: u64, got_on: Option<Duration>) {
            self.0.followers.get_mut(&ReplicaId(id)).unwrap().installing = got_on;
        }

        fn situation(&self) -> Situation<'_> {
            Situation { view: &self.0, leads_for: Duration::from_mins(1), replace_after: REPLACE_AFTER }
        }

        fn remove(&self, id: u64) -> Result<Removal, RemovalError> {
            self.situation().removal(ReplicaId(id), Some(LAST))
        }

        /// Returns the replicas that may join, each with the one that leaves then.
        fn admit(&self, candidates: &[Replica]) -> Vec<(u64, Option<u64>)> {
            self.admit_knowing(Some(&self.0.members.voters), candidates)
        }

        /// The same for managers that named the candidates when they knew these voters.
        fn admit_knowing(
            &self,
            known_voters: Option<&BTreeSet<ReplicaId>>,
            candidates: &[Replica],
        ) -> Vec<(u64, Option<u64>)> {
            let instance = |_| Some("first".to_owned());
            let admissions = self.situation().admissions(candidates, known_voters, instance);
            admissions.into_iter().map(|a| (a.joins.0, a.leaves.map(|id| id.0))).collect()
        }
    }

    fn candidate(id: u64, server: u64, instance: &str) -> Replica {
        Replica {
            id: ReplicaId(id),
            server: name(server),
            client_address: String::new(),
            peer_address: String::new(),
            instance: instance.to_owned(),
        }
    }

    #[test]
    fn a_voter_may_go_when_those_that_stay_are_a_quorum() {
        let mut group = Group::of(5);
        assert_eq!(group.remove(4), Ok(Removal::Voter));
        // Of the four that stay three are needed.
        group.silent(5, Duration::from_secs(2));
        assert_eq!(group.remove(4), Ok(Removal::Voter));
        assert_eq!(group.remove(5), Ok(Removal::Voter), "who is silent goes first");
        group.silent(3, Duration::from_secs(2));
        assert_eq!(group.remove(4), Err(RemovalError::NoQuorum { able: 2, needed: 3, staying: 4 }));
        assert_eq!(group.remove(5), Ok(Removal::Voter));
    }

    #[test]
    fn who_lacks_entries_or_never_answered_does_not_count() {
        let mut group = Group::of(3);
        group.set(2, Some(Duration::ZERO), LAST - 1);
        assert_eq!(group.remove(3), Err(RemovalError::NoQuorum { able: 1, needed: 2, staying: 2 }));
        group.set(2, None, LAST);
        assert_eq!(group.remove(3), Err(RemovalError::NoQuorum { able: 1, needed: 2, staying: 2 }));
        group.set(2, Some(Duration::ZERO), LAST);
        assert_eq!(group.remove(3), Ok(Removal::Voter));
    }

    #[test]
    fn the_leader_and_the_last_voter_stay() {
        assert_eq!(Group::of(2).remove(1), Err(RemovalError::Leads(LEADER)));
        assert_eq!(Group::of(1).remove(1), Err(RemovalError::LastVoter(LEADER)));
        assert_eq!(Group::of(2).remove(2), Ok(Removal::Voter), "the leader alone is a quorum of one");
    }

    #[test]
    fn only_the_leader_removes() {
        let mut group = Group::of(3);
        group.0.leader = Some(ReplicaId(2));
        for id in [1, 2, 3, 9] {
            assert_eq!(group.remove(id), Err(RemovalError::NotLeader));
        }
    }

    #[test]
    fn one_change_at_a_time() {
        let mut group = Group::of(3);
        let joins = candidate(9, 9, "first");
        group.0.membership_is_committed = false;
        assert_eq!(group.remove(3), Err(RemovalError::ChangeInProgress), "not committed yet");
        assert_eq!(group.admit(std::slice::from_ref(&joins)), []);
        group.0.membership_is_committed = true;
        group.0.members.joint = Some([1, 2].map(ReplicaId).into());
        assert_eq!(group.remove(3), Err(RemovalError::ChangeInProgress), "joint");
        assert_eq!(group.admit(&[joins]), []);
    }

    #[test]
    fn a_learner_needs_no_quorum_and_a_stranger_is_gone_already() {
        let mut group = Group::of(3);
        group.set_members(1..=3, 1..=4);
        group.silent(2, Duration::from_secs(2));
        group.silent(3, Duration::from_secs(2));
        assert_eq!(group.remove(4), Ok(Removal::Learner));
        assert_eq!(group.remove(9), Ok(Removal::Done));
    }

    #[test]
    fn a_learner_that_fell_silent_is_lost_and_a_voter_never_is() {
        let mut group = Group::of(3);
        group.set_members(1..=3, 1..=4);
        group.silent(3, REPLACE_AFTER);
        group.silent(4, Duration::from_secs(29));
        assert_eq!(group.situation().lost_learner(), None);
        group.silent(4, REPLACE_AFTER);
        assert_eq!(group.situation().lost_learner(), Some(ReplicaId(4)));
        group.0.membership_is_committed = false;
        assert_eq!(group.situation().lost_learner(), None, "another change isn't over");
    }

    #[test]
    fn a_learner_that_only_installs_a_snapshot_is_not_lost_and_no_part_of_a_quorum() {
        let mut group = Group::of(3);
        group.set_members(1..=3, 1..=4);
        group.silent(4, REPLACE_AFTER);
        group.install(4, Some(Duration::ZERO));
        assert_eq!(group.situation().lost_learner(), None);
        group.install(4, None);
        assert_eq!(group.situation().lost_learner(), Some(ReplicaId(4)));

        let mut group = Group::of(3);
        group.silent(2, REPLACE_AFTER);
        group.install(2, Some(Duration::ZERO));
        assert_eq!(group.remove(3), Err(RemovalError::NoQuorum { able: 1, needed: 2, staying: 2 }));
    }

    #[test]
    fn a_replacement_waits_until_the_old_one_is_silent() {
        let mut group = Group::of(3);
        let same_start = candidate(9, 3, "first");
        let new_start = candidate(9, 3, "second");
        assert_eq!(group.admit(&[same_start.clone(), new_start.clone()]), []);
        group.silent(3, Duration::from_secs(2));
        assert_eq!(group.admit(std::slice::from_ref(&same_start)), []);
        assert_eq!(group.admit(&[new_start]), [(9, Some(3))], "its server says that it is another one now");
        group.silent(3, REPLACE_AFTER);
        assert_eq!(group.admit(&[same_start]), [(9, Some(3))]);
    }

    /// The managers named 7, which was long in coming, and then 8, which came first.
    #[test]
    fn one_that_was_named_before_another_was_admitted_is_not_one_too_many() {
        let mut group = Group::of(2);
        let named = group.0.members.voters.clone();
        let admit = |group: &Group, id| group.admit_knowing(Some(&named), &[candidate(id, id, "x")]);
        assert_eq!(admit(&group, 7), [(7, None)]);
        group.set_members(1..=3, 1..=3);
        group.set(3, Some(Duration::ZERO), LAST);
        assert_eq!(admit(&group, 8), [], "the managers don't know of 3 yet");
        assert_eq!(group.admit_knowing(None, &[candidate(8, 8, "x")]), [], "nor what a new leader has");
        assert_eq!(group.admit(&[candidate(8, 8, "x")]), [(8, None)], "they want four");
        group.silent(3, REPLACE_AFTER);
        assert_eq!(admit(&group, 8), [], "in nobody's place");
        assert_eq!(group.admit_knowing(None, &[candidate(8, 3, "x")]), [(8, Some(3))], "no more than before");
    }

    #[test]
    fn one_that_went_back_in_time_counts_for_nothing_and_is_replaced_soon() {
        let mut group = Group::of(3);
        group.go_back(2);
        assert_eq!(group.remove(3), Err(RemovalError::NoQuorum { able: 1, needed: 2, staying: 2 }));
        let in_its_place = candidate(9, 2, "first");
        assert_eq!(group.admit(std::slice::from_ref(&in_its_place)), [], "it may still answer");
        group.silent(2, ALIVE);
        assert_eq!(group.admit(std::slice::from_ref(&in_its_place)), [], "silence alone isn't enough");
        group.go_back(2);
        assert_eq!(group.admit(&[in_its_place]), [(9, Some(2))]);
    }

    #[test]
    fn nobody_is_admitted_without_a_living_quorum_nor_in_place_of_the_leader() {
        let mut group = Group::of(3);
        group.silent(2, REPLACE_AFTER);
        group.silent(3, REPLACE_AFTER);
        assert_eq!(group.admit(&[candidate(8, 2, "x"), candidate(9, 9, "x")]), []);
        assert_eq!(Group::of(3).admit(&[candidate(9, 1, "x"), candidate(2, 2, "x")]), []);
    }

    #[test]
    fn all_that_may_join_are_named_so_that_one_that_is_gone_blocks_nobody() {
        let mut group = Group::of(3);
        group.silent(3, REPLACE_AFTER);
        let candidates = [candidate(7, 4, "x"), candidate(8, 3, "x"), candidate(9, 5, "x")];
        assert_eq!(group.admit(&candidates), [(7, None), (8, Some(3)), (9, None)]);
    }
}
