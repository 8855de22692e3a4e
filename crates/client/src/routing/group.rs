//! The members of one group, which of them leads, and how a lost leader is found again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skv_sharding::{Group, GroupId, GroupUid, Incarnation, Replica, ReplicaId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pause::Jitter;
use crate::transport::{Failure, Peer, Pool};
use crate::tried::Tried;

/// While a group has no leader its members are asked in turn, with a pause after each round:
/// the election needs the processor more than we do.
const SHORTEST_ROUND: Duration = Duration::from_millis(20);
const LONGEST_ROUND: Duration = Duration::from_millis(50);
/// A single call asks and the others wait, but not longer than this, since that call itself may
/// take long.
const PROBE_ALONE: Duration = Duration::from_millis(50);

/// A replica and the way to it.
#[derive(Debug)]
pub(crate) struct Member {
    id: ReplicaId,
    /// The name of its server.
    pub(crate) server: String,
    /// The failure of the last call that it was asked by, if that was since a leader was last known.
    said: Mutex<Option<Failure>>,
    pub(crate) peer: Arc<Peer>,
}

/// A group, as this clerk sees it.
#[derive(Debug)]
pub(crate) struct GroupRoute {
    pub(crate) id: GroupId,
    pub(super) uid: GroupUid,
    pub(super) incarnation: Incarnation,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Arc<Member>>,
    leader: Option<Arc<Member>>,
    /// The newest leader heard of: its term, and its id. Within a term a replica of a higher id may
    /// depose another one.
    newest: (u64, Option<ReplicaId>),
    /// The member that was said to lead in that term and then failed: others may not know yet.
    barred: Option<ReplicaId>,
    /// The time until which another call is trusted to find the leader.
    probing: Option<Instant>,
    /// Members asked in this round.
    probes: usize,
    next_round: Option<Instant>,
}

/// The member to ask.
#[derive(Debug)]
pub(super) enum Choice {
    Leader(Arc<Member>),
    /// The leader is unknown: ask this member, and report the result.
    Probe(Arc<Member>, Probe),
    /// Another call is asking, or the round is over.
    Wait(Instant),
    /// No member can be connected to.
    Unreachable,
}

/// The right to ask while there is no leader.
#[derive(Debug)]
pub(crate) struct Probe {
    group: Arc<GroupRoute>,
    until: Instant,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut state = self.group.state.lock();
        if state.probing == Some(self.until) {
            state.probing = None;
            self.group.settled.notify_one();
        }
    }
}

impl GroupRoute {
    pub(super) fn new(id: GroupId, group: &Group, pool: &Pool) -> GroupRoute {
        let route = GroupRoute {
            id,
            uid: group.uid,
            incarnation: group.incarnation,
            state: Mutex::default(),
            settled: Notify::new(),
        };
        route.set_members(&group.replicas, pool);
        route
    }

    /// Takes over addresses and membership; keeps the leader.
    pub(super) fn set_members(&self, replicas: &[Replica], pool: &Pool) {
        let mut state = self.state.lock();
        state.members = replicas
            .iter()
            .map(|replica| {
                let old = state.members.iter().find(|old| old.is(replica));
                old.map_or_else(|| Arc::new(Member::new(replica, pool)), Arc::clone)
            })
            .collect();
        if let Some(leader) = &state.leader {
            let moved = state.members.iter().find(|member| member.id == leader.id).cloned();
            state.leader = moved.or_else(|| state.leader.take());
        }
    }

    pub(super) fn has_members(&self) -> bool {
        !self.state.lock().members.is_empty()
    }

    /// Returns what the members said since a leader was last known, to whichever call.
    pub(crate) fn tried(&self) -> Tried {
        let mut tried = Tried::new(self.id);
        for member in &self.state.lock().members {
            let said = member.said.lock().clone().or_else(|| member.peer.trouble().map(Failure::NotSent));
            if let Some(failure) = said {
                tried.failed(&member.server, member.peer.address(), &failure);
            }
        }
        tried
    }

    /// Returns the members, the leader first.
    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        let state = self.state.lock();
        state.leader.iter().chain(&state.members).map(|member| Arc::clone(&member.peer)).collect()
    }

    pub(super) fn choose(self: &Arc<Self>, now: Instant, jitter: &Jitter) -> Choice {
        let mut state = self.state.lock();
        if let Some(leader) = &state.leader {
            return Choice::Leader(Arc::clone(leader));
        }
        if state.members.iter().all(|member| member.peer.is_resting(now)) {
            return Choice::Unreachable;
        }
        if let Some(next_round) = state.next_round.filter(|next| now < *next) {
            return Choice::Wait(next_round);
        }
        if let Some(until) = state.probing.filter(|until| now < *until) {
            return Choice::Wait(until);
        }
        let count = state.members.len();
        let round = (0..count).map(|i| &state.members[(state.probes + i) % count]);
        let Some((skipped, member)) = round.enumerate().find(|(_, member)| !member.peer.is_resting(now))
        else {
            return Choice::Unreachable;
        };
        let member = Arc::clone(member);
        state.probes += skipped + 1;
        if state.probes >= count {
            state.probes = 0;
            state.next_round = Some(now + jitter.between(SHORTEST_ROUND, LONGEST_ROUND));
        }
        let until = now + PROBE_ALONE;
        state.probing = Some(until);
        Choice::Probe(member, Probe { group: Arc::clone(self), until })
    }

    /// Returns when waiting calls should look for the leader again.
    pub(crate) async fn settled(&self) {
        self.settled.notified().await;
    }

    /// Takes over the leader of `term` from a server's answer. Returns true if that is news.
    pub(super) fn hint(&self, leader: &Replica, term: u64, pool: &Pool) -> bool {
        let mut state = self.state.lock();
        let named = (term, Some(leader.id));
        let is_newer = named > state.newest;
        let is_found_again = named == state.newest && state.leader.is_none() && state.barred != named.1;
        if !is_newer && !is_found_again {
            return false;
        }
        if is_newer {
            state.barred = None;
        }
        state.newest = named;
        let known = state.members.iter().find(|member| member.is(leader)).cloned();
        let member = known.unwrap_or_else(|| Arc::new(Member::new(leader, pool)));
        self.found(&mut state, member);
        true
    }

    /// Notes that this member answered as only a leader does.
    pub(crate) fn worked(&self, member: &Arc<Member>) {
        let mut state = self.state.lock();
        if state.leader.is_none() {
            self.found(&mut state, Arc::clone(member));
        }
    }

    fn found(&self, state: &mut State, leader: Arc<Member>) {
        state.leader = Some(leader);
        state.next_round = None;
        state.members.iter().for_each(|member| *member.said.lock() = None);
        self.settled.notify_waiters();
    }

    /// Notes that this member doesn't lead, or can't be reached.
    pub(crate) fn failed(&self, member: &Arc<Member>) {
        let mut state = self.state.lock();
        if state.leader.as_ref().is_some_and(|leader| leader.id == member.id) {
            state.leader = None;
            state.barred = Some(member.id);
        }
    }
}

impl Member {
    fn new(replica: &Replica, pool: &Pool) -> Member {
        let (server, peer) = (replica.server.clone(), pool.peer(&replica.client_address));
        Member { id: replica.id, server, said: Mutex::default(), peer }
    }

    /// Notes that it didn't serve a call.
    pub(crate) fn said(&self, failure: &Failure) {
        *self.said.lock() = Some(failure.clone());
    }

    fn is(&self, replica: &Replica) -> bool {
        self.id == replica.id && **self.peer.address() == *replica.client_address
    }
}
