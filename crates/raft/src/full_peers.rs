//! The followers that have refused entries for want of disk space. An entry that a majority can't
//! write must not be proposed: it would stay in the log with an unknown outcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_sharding::ReplicaId;

/// The followers of one leader that have no space. Clones share the set.
#[derive(Debug, Clone, Default)]
pub(crate) struct FullPeers(Arc<Mutex<BTreeSet<ReplicaId>>>);

impl FullPeers {
    /// Notes that a follower refused entries. openraft goes on trying, so that [`has_space`] follows.
    ///
    /// [`has_space`]: Self::has_space
    pub(crate) fn is_full(&self, peer: ReplicaId) {
        self.0.lock().insert(peer);
    }

    /// Notes that a follower took entries.
    pub(crate) fn has_space(&self, peer: ReplicaId) {
        self.0.lock().remove(&peer);
    }

    /// Returns true if too many of these voters are full, so that no entry can be committed.
    pub(crate) fn prevent_quorum(&self, voters: impl IntoIterator<Item = ReplicaId>) -> bool {
        let full = self.0.lock();
        if full.is_empty() {
            return false;
        }
        let (mut all, mut writable) = (0, 0);
        for voter in voters {
            all += 1;
            writable += usize::from(!full.contains(&voter));
        }
        writable <= all / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_without_space_prevents_a_quorum() {
        let voters = || [1, 2, 3].map(ReplicaId);
        let peers = FullPeers::default();
        assert!(!peers.prevent_quorum(voters()));
        peers.is_full(ReplicaId(2));
        assert!(!peers.prevent_quorum(voters()));
        peers.is_full(ReplicaId(3));
        assert!(peers.prevent_quorum(voters()));
        peers.has_space(ReplicaId(2));
        assert!(!peers.prevent_quorum(voters()));
    }
}
