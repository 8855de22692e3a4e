//! The followers that have no room: on their disks, or in memory for data that grows. An entry that a
//! majority can't take must not be proposed: it would stay in the log with an unknown outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use skv_sharding::ReplicaId;

/// The followers of one leader that have no room. Clones share the set.
#[derive(Debug, Clone, Default)]
pub(crate) struct FullPeers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    full: Mutex<Full>,
    /// True if any follower has no room in memory. Each write asks, and hardly ever needs to know more.
    any_in_memory: AtomicBool,
}

#[derive(Debug, Default)]
struct Full {
    disk: BTreeSet<ReplicaId>,
    memory: BTreeSet<ReplicaId>,
    /// The growth after which a follower takes nothing that grows, by its last word.
    memory_left: BTreeMap<ReplicaId, u64>,
    /// The last word of each follower on its disk: whether there is room for its log's next segment. One
    /// that has none may still take entries.
    next_segment: BTreeMap<ReplicaId, bool>,
}

impl FullPeers {
    /// Notes that a follower refused entries. openraft goes on trying, so that [`has_space`] follows.
    ///
    /// [`has_space`]: Self::has_space
    pub(crate) fn is_full(&self, peer: ReplicaId) {
        self.0.full.lock().disk.insert(peer);
    }

    /// Notes that a follower took entries.
    pub(crate) fn has_space(&self, peer: ReplicaId) {
        self.0.full.lock().disk.remove(&peer);
    }

    /// Notes a follower's word on its disk, which comes with each of its answers.
    pub(crate) fn set_disk(&self, peer: ReplicaId, is_full: bool) {
        self.0.full.lock().next_segment.insert(peer, !is_full);
    }

    /// Forgets the state of a follower's disk that an earlier term of this leader knew.
    pub(crate) fn forget_disk(&self, peer: ReplicaId) {
        let mut full = self.0.full.lock();
        full.disk.remove(&peer);
        full.next_segment.remove(&peer);
    }

    /// Notes a follower's word on its memory, which comes with each of its answers.
    pub(crate) fn set_memory(&self, peer: ReplicaId, is_full: bool) {
        if !is_full && !self.any_in_memory() {
            return;
        }
        let mut full = self.0.full.lock();
        if is_full {
            full.memory.insert(peer);
        } else {
            full.memory.remove(&peer);
        }
        self.0.any_in_memory.store(!full.memory.is_empty(), Ordering::Relaxed);
    }

    /// Notes the growth after which a follower takes nothing that grows; `None` if it names no limit.
    pub(crate) fn set_memory_left(&self, peer: ReplicaId, bytes: Option<u64>) {
        let mut full = self.0.full.lock();
        match bytes {
            Some(bytes) => _ = full.memory_left.insert(peer, bytes),
            None => _ = full.memory_left.remove(&peer),
        }
    }

    /// Returns the growth that a majority of these voters takes. One that says nothing takes any: its own
    /// leader, which judges itself, is among them.
    pub(crate) fn memory_left(&self, voters: impl IntoIterator<Item = ReplicaId>) -> u64 {
        let full = self.0.full.lock();
        let left = |voter| full.memory_left.get(&voter).copied().unwrap_or(u64::MAX);
        let mut left: Vec<u64> = voters.into_iter().map(left).collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        left.get(left.len() / 2).copied().unwrap_or(u64::MAX)
    }

    /// Returns true if any follower has no room in memory.
    pub(crate) fn any_in_memory(&self) -> bool {
        self.0.any_in_memory.load(Ordering::Relaxed)
    }

    /// Returns true if too many of these voters have full disks, so that no entry can be committed.
    pub(crate) fn prevent_quorum(&self, voters: impl IntoIterator<Item = ReplicaId>) -> bool {
        let full = self.0.full.lock();
        !full.disk.is_empty() && !is_majority(voters, |voter| !full.disk.contains(voter))
    }

    /// Returns true if too many of these voters have no room for data that grows.
    pub(crate) fn prevent_growth(&self, voters: impl IntoIterator<Item = ReplicaId>) -> bool {
        let full = self.0.full.lock();
        !is_majority(voters, |voter| !full.disk.contains(voter) && !full.memory.contains(voter))
    }

    /// Returns true if a follower has said that there is room on its disk, and has room in memory.
    pub(crate) fn is_roomy(&self, peer: ReplicaId) -> bool {
        let full = self.0.full.lock();
        let has_disk = !full.disk.contains(&peer) && full.next_segment.get(&peer) == Some(&true);
        has_disk && !full.memory.contains(&peer)
    }
}

fn is_majority(voters: impl IntoIterator<Item = ReplicaId>, counts: impl Fn(&ReplicaId) -> bool) -> bool {
    let (mut all, mut counted) = (0, 0);
    for voter in voters {
        all += 1;
        counted += usize::from(counts(&voter));
    }
    counted > all / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters() -> [ReplicaId; 3] {
        [1, 2, 3].map(ReplicaId)
    }

    #[test]
    fn a_majority_without_space_prevents_a_quorum() {
        let peers = FullPeers::default();
        assert!(!peers.prevent_quorum(voters()));
        peers.is_full(ReplicaId(2));
        assert!(!peers.prevent_quorum(voters()));
        peers.is_full(ReplicaId(3));
        assert!(peers.prevent_quorum(voters()));
        peers.has_space(ReplicaId(2));
        assert!(!peers.prevent_quorum(voters()));
    }

    #[test]
    fn a_majority_without_memory_prevents_growth_and_nothing_else() {
        let peers = FullPeers::default();
        peers.set_memory(ReplicaId(2), true);
        assert!(peers.any_in_memory() && !peers.prevent_growth(voters()));
        for voter in voters() {
            peers.set_disk(voter, false);
        }
        assert!(!peers.is_roomy(ReplicaId(2)) && peers.is_roomy(ReplicaId(3)));
        peers.set_memory(ReplicaId(3), true);
        assert!(peers.prevent_growth(voters()) && !peers.prevent_quorum(voters()));
        peers.set_memory(ReplicaId(2), false);
        assert!(!peers.prevent_growth(voters()));
        peers.set_memory(ReplicaId(3), false);
        assert!(!peers.any_in_memory());
    }

    #[test]
    fn growth_is_no_more_than_a_majority_takes() {
        let peers = FullPeers::default();
        assert_eq!(peers.memory_left(voters()), u64::MAX);
        peers.set_memory_left(ReplicaId(2), Some(5));
        assert_eq!(peers.memory_left(voters()), u64::MAX, "the leader and the third are a majority");
        peers.set_memory_left(ReplicaId(3), Some(9));
        assert_eq!(peers.memory_left(voters()), 9);
        assert_eq!(peers.memory_left([1, 2, 3, 4].map(ReplicaId)), 9, "two of four are no majority");
        assert_eq!(peers.memory_left([1, 2].map(ReplicaId)), 5);
        peers.set_memory_left(ReplicaId(3), None);
        assert_eq!(peers.memory_left(voters()), u64::MAX);
        assert_eq!(peers.memory_left([]), u64::MAX);
    }

    #[test]
    fn only_who_says_so_has_room_for_another_segment() {
        let (peers, peer) = (FullPeers::default(), ReplicaId(2));
        assert!(!peers.is_roomy(peer), "it said nothing yet");
        peers.set_disk(peer, true);
        assert!(!peers.is_roomy(peer));
        assert!(!peers.prevent_quorum([peer]), "it may still take entries");
        peers.set_disk(peer, false);
        assert!(peers.is_roomy(peer));
        peers.forget_disk(peer);
        assert!(!peers.is_roomy(peer), "that was in another term");
    }

    #[test]
    fn a_full_disk_is_no_room_for_growth_either() {
        let peers = FullPeers::default();
        peers.set_memory(ReplicaId(2), true);
        peers.is_full(ReplicaId(3));
        assert!(peers.prevent_growth(voters()) && !peers.prevent_quorum(voters()));
    }
}
