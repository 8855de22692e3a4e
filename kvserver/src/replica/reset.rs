//! Reviving a group that lost its majority for good: this replica becomes the only member
//! of the group's next incarnation. What it hasn't seen is lost, which is why a person
//! has to ask for it. The old identity ends with the old incarnation (invariant 6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::storage::RaftLogReader as _;
use openraft::vote::RaftLeaderId as _;
use openraft::{EntryPayload, Membership};
use skv_proto::Error;
use skv_sharding::{Incarnation, ReplicaId};

use super::environment::Environment;
use super::{Belongs, Identity, Running};
use crate::raft::types::{LeaderId, LogId, ServerName, SnapshotMeta, StoredMembership, Vote};
use crate::store::encode_reset;
use crate::{disk, entropy};

impl Running {
    /// Makes this replica the whole group. Returns the new incarnation and the last log id
    /// that it has; the replica starts again under its new identity.
    pub async fn reset(&self, env: &Arc<Environment>) -> Result<(Incarnation, LogId), Error> {
        let group = self.place.group;
        if self.has_quorum() {
            return Err(Error::InvalidArgument(format!(
                "{group} has a leader with a quorum: there is nothing to reset"
            )));
        }
        if self.store.facts().is_none() {
            return Err(Error::InvalidArgument(format!(
                "this replica of {group} holds no state to go on from"
            )));
        }
        tracing::warn!(%group, replica = %self.place.replica, "reviving the group from this replica alone");
        self.resetting.store(true, Ordering::Relaxed);
        let result = self.succeed_alone(env).await;
        // Whatever came of it: the replica opens its directory again.
        self.rebirth.cancel();
        result.map_err(|error| Error::Internal(format!("the reset failed: {error}")))
    }

    async fn succeed_alone(&self, env: &Arc<Environment>) -> Result<(Incarnation, LogId), String> {
        let group = self.place.group;
        self.raft.shutdown().await.map_err(|e| e.to_string())?;
        let last = self.apply_rest().await?;
        let incarnation = Incarnation(self.place.incarnation.0 + 1);
        self.store.apply(&encode_reset(env.clock.now_ms(), incarnation)).map_err(|e| e.to_string())?;

        let replica = ReplicaId(entropy::random_id());
        let belongs = Belongs { cluster: self.place.cluster, uid: self.place.uid, incarnation };
        let identity = Identity { replica, group, belongs: Some(belongs) };
        let members = BTreeMap::from([(replica, ServerName(self.server.clone()))]);
        let only = Membership::new(vec![[replica].into()], members).map_err(|e| e.to_string())?;
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), only),
        };
        // The next term must be above every one in the log.
        let vote = Vote { leader_id: LeaderId::new(last.leader_id.term + 1, replica), committed: false };

        let (data, view) = (env.data.clone(), self.store.view());
        let rebirth = async move { data.rebirth(identity, vote, meta, view).await };
        disk::run(&*env.disk, "reset", rebirth).await.flatten().map_err(|e| e.to_string())?;
        Ok((incarnation, last))
    }

    /// What status says too: who reads there that the quorum is lost may act on it.
    pub(super) fn has_quorum(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        self.readiness.quorum_lost(&metrics).is_none()
    }

    /// Applies what the log holds beyond what is known to be committed: some of it may have
    /// been acknowledged by the majority that is lost.
    async fn apply_rest(&self) -> Result<LogId, String> {
        let applied = self.raft.metrics().borrow_watched().last_applied;
        let mut last = applied;
        let mut reader = self.log.lock().await;
        let mut next = applied.map_or(0, |id| id.index + 1);
        loop {
            let entries = reader.limited_get_log_entries(next, u64::MAX).await.map_err(|e| e.to_string())?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if let EntryPayload::Normal(data) = &entry.payload {
                    self.store.apply(&data.0).map_err(|e| e.to_string())?;
                }
                next = entry.log_id.index + 1;
                last = Some(entry.log_id);
            }
        }
        last.ok_or_else(|| "there is nothing in it".into())
    }
}
