//! The leader of a replica's group, for tasks that need to know nothing else: openraft reports its whole state with
//! each entry, changed or not, and wakes all that follow it.

use std::fmt;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use skv_sharding::ReplicaId;

use crate::consensus::{Consensus, Watch};
use crate::engine::Stopped;
use crate::types::TypeConfig;

/// Follows the leader.
pub struct Leaders {
    /// Changes with the vote, the role, the leader and the members only.
    server: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    /// The state that all others read, which is reported a moment later.
    watch: Watch,
}

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaders").finish_non_exhaustive()
    }
}

impl Consensus {
    /// Returns a view that follows the leader.
    pub fn leaders(&self) -> Leaders {
        Leaders { server: self.raft.server_metrics(), watch: self.watch() }
    }
}

impl Leaders {
    /// Waits until the leader is another one than `known`; returns it, if there is one, and the term. An error says
    /// that the Raft has ended. A caller that stops waiting misses nothing.
    pub async fn other_than(
        &mut self,
        known: Option<ReplicaId>,
    ) -> Result<(Option<ReplicaId>, u64), Stopped> {
        loop {
            let (leader, term) = self.watch.leader();
            if leader != known {
                return Ok((leader, term));
            }
            if self.is_newest(leader) {
                self.server.changed().await.map_err(|_| Stopped::ended())?;
            } else {
                self.watch.changed().await?;
            }
        }
    }

    /// Waits until the Raft has ended.
    pub async fn ended(mut self) -> Stopped {
        while self.server.changed().await.is_ok() {}
        Stopped::ended()
    }

    fn is_newest(&self, leader: Option<ReplicaId>) -> bool {
        self.server.borrow_watched().current_leader == leader
    }
}
