//! The succession of one replica that goes on alone as the whole group, and takes over its log.

use std::collections::BTreeMap;
use std::io;

use openraft::EntryPayload;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftStateMachine as _};
use openraft::vote::RaftLeaderId as _;
use skv_log::Log;
use skv_sharding::ReplicaId;
use skv_snapshot::Progress;
use skv_store::Store;

use crate::log_store::{LogStore, LogStoreReader};
use crate::state_machine::StateMachine;
use crate::types::{LeaderId, LogId, Membership, ServerName, SnapshotMeta, StoredMembership, Vote};

/// The beginning of a log whose only member succeeds a whole group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The vote to begin with, which is above every term in the log before.
    pub vote: Vote,
    /// The position and the membership that the first snapshot covers.
    pub meta: SnapshotMeta,
}

impl Succession {
    /// Makes a replica the only member, after the last entry of the log before.
    pub fn after(last: LogId, replica: ReplicaId, server: String) -> Result<Self, String> {
        let members = BTreeMap::from([(replica, ServerName(server))]);
        let only = Membership::new(vec![[replica].into()], members).map_err(|error| error.to_string())?;
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), only),
        };
        let vote = Vote { leader_id: LeaderId::new(last.leader_id.term + 1, replica), committed: false };
        Ok(Succession { vote, meta })
    }

    /// Writes the vote into a log that is empty.
    pub async fn save_vote(&self, log: Log) -> io::Result<()> {
        LogStore::new(log).save_vote(&self.vote).await
    }
}

/// Applies to a store all that a replica's files hold, also what isn't known to be committed. The
/// store has what the state machine's newest snapshot covers. Returns the last entry; `read` counts the
/// bytes of entries.
pub async fn read_all(
    log: Log,
    mut state: StateMachine,
    store: &Store,
    read: &Progress,
) -> io::Result<Option<LogId>> {
    let (applied, _) = state.applied_state().await?;
    apply_after(applied, &mut LogStore::new(log).get_log_reader().await, store, read).await
}

/// Applies what a log holds after an entry, and returns its end.
async fn apply_after(
    applied: Option<LogId>,
    log: &mut LogStoreReader,
    store: &Store,
    read: &Progress,
) -> io::Result<Option<LogId>> {
    let mut last = applied;
    loop {
        let next = last.map_or(0, |id| id.index + 1);
        let entries = log.limited_get_log_entries(next, u64::MAX).await?;
        if entries.is_empty() {
            return Ok(last);
        }
        for entry in entries {
            if let EntryPayload::Normal(data) = &entry.payload {
                store.apply_silently(&data.0).map_err(io::Error::other)?;
                read.add(data.0.len() as u64);
            }
            last = Some(entry.log_id);
        }
    }
}
