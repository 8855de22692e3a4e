//! A replica whose Raft runs: its parts, each of which owns its fields.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skv_disk::clock::Clock;
use skv_proto::Error;
use skv_raft::Consensus;
use skv_raft::header::Place;
use skv_raft::types::LogId;
use skv_sharding::{GroupId, Lineage, MapRevision, ReplicaId};
use skv_store::Store;
use tokio_util::sync::CancellationToken;

use crate::data_dir::Former;
use crate::handoff::state::Handoffs;
use crate::leader::LeaderHints;
use crate::map_copy::MapCopy;
use crate::members::Changes;
use crate::orders::Instructions;
use crate::read::ReadBarrier;
use crate::readiness::{Quorum, Readiness};
use crate::reset::Reset;
use crate::situation::RemovalError;
use crate::snapshots::Snapshots;
use crate::writes::WritePath;

/// A replica whose Raft runs.
pub struct Running {
    /// Its place in its group.
    pub place: Place,
    /// Its Raft.
    pub consensus: Consensus,
    /// Its state.
    pub store: Arc<Store>,
    /// The server's copy of the shard map.
    pub map: Arc<MapCopy>,
    /// The leader, as far as it is known.
    pub hints: LeaderHints,
    /// The state that readiness is judged by.
    pub readiness: Readiness,
    /// The way of writes.
    pub writes: WritePath,
    /// The way of reads.
    pub reads: ReadBarrier,
    /// The shards that come and go.
    pub handoffs: Handoffs,
    /// Its snapshots.
    pub(crate) snapshots: Snapshots,
    /// Changes of the group's members.
    pub(crate) members: Changes,
    /// The shard managers' orders.
    pub(crate) orders: Instructions,
    /// The level of this server's abilities.
    pub(crate) feature_level: u32,
    /// The wall clock.
    pub(crate) clock: Clock,
    /// The way to make it the whole group.
    pub(crate) reset: Reset,
    /// The former lives of the group that are kept here, as they were last seen.
    pub(crate) former: Mutex<Option<Former>>,
    /// Cancelled when the leader has proved that this replica's disk went back in time.
    pub(crate) gone_back: CancellationToken,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Running {
    /// Returns the newest revision of the map that the managers have named.
    pub fn told_revision(&self) -> MapRevision {
        self.orders.revision()
    }

    /// Returns the time since the newest snapshot came, or since the replica was started.
    pub fn snapshot_age(&self) -> Duration {
        self.snapshots.age()
    }

    /// Takes a replica out of the group; done at once if it is no member.
    pub async fn remove(&self, id: ReplicaId) -> Result<(), RemovalError> {
        self.members.remove(id).await
    }

    /// Writes a snapshot of what is applied now, if none covers that yet, and drops the log that it
    /// covers; `None` if that failed.
    pub async fn snapshot(&self) -> Option<LogId> {
        let snapshot = self.snapshots.write().await?;
        self.snapshots.purge().await;
        Some(snapshot)
    }

    /// Returns the way to make this replica the whole group, if there is a reason to.
    pub(crate) fn may_be_reset(&self) -> Result<Reset, Error> {
        let group = self.place.group;
        check_lost(self.readiness.quorum(&self.consensus.view()), group)?;
        if self.store.facts().is_none() {
            return Err(Error::InvalidArgument(format!(
                "this replica of {group} holds no state to go on from"
            )));
        }
        let newer =
            self.map.incarnation(group, self.place.uid).filter(|known| *known > self.place.incarnation);
        if let Some(newer) = newer {
            return Err(Error::InvalidArgument(format!(
                "{group} was revived from another replica, as incarnation {newer}: this one has what was before"
            )));
        }
        Ok(self.reset.clone())
    }

    /// Returns the incarnations that the group's incarnation came from, as far as they are known.
    pub(crate) fn lineage(&self) -> Lineage {
        self.store.facts().map_or_else(Lineage::default, |facts| facts.lineage.clone())
    }

    /// Returns the level of the abilities that all voters of the group have, as far as this leader knows.
    pub(crate) fn group_level(&self) -> u32 {
        self.consensus.common_level(self.feature_level)
    }

    /// Returns true if the group has a quorum as far as this replica can tell. The status reports the
    /// same: a person who reads there that the quorum is lost may act on it.
    pub(crate) fn has_quorum(&self) -> bool {
        self.readiness.quorum_lost(&self.consensus.view()).is_none()
    }
}

/// Refuses a reset of a group whose quorum isn't known to be lost.
fn check_lost(quorum: Quorum, group: GroupId) -> Result<(), Error> {
    match quorum {
        Quorum::Lost(_) => Ok(()),
        Quorum::Held => Err(Error::InvalidArgument(format!(
            "{group} has a leader with a quorum: there is nothing to reset"
        ))),
        Quorum::Unknown => Err(Error::Unavailable(format!(
            "it isn't known yet whether {group} has a leader with a quorum: ask again in a few seconds"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_has_just_started_does_not_claim_a_quorum() {
        let checked = |quorum| check_lost(quorum, GroupId(0));
        assert_eq!(checked(Quorum::Lost(Duration::from_secs(9))), Ok(()));
        assert!(matches!(checked(Quorum::Held), Err(Error::InvalidArgument(_))));
        assert!(matches!(checked(Quorum::Unknown), Err(Error::Unavailable(_))));
    }
}
