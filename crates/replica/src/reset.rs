//! The revival of a group that lost its majority for good: this replica becomes the only member of
//! the group's next incarnation. Everything that it hasn't seen is lost, which is why a person has to
//! ask for it. The old identity ends with the old incarnation (invariant 6).
//!
//! It is done between two lives of the replica and from its files alone, which nobody else uses then.
//! So it is done once at a time, needs no caller that waits for it, applies nothing twice, and leaves
//! the replica as it was if it fails.

use std::sync::Arc;

use skv_disk::entropy;
use skv_proto::Error;
use skv_raft::types::LogId;
use skv_raft::{Succession, read_all};
use skv_sharding::{GroupId, Incarnation, ReplicaId};
use skv_store::{Store, encode_reset};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::data_dir::{Belongs, Identity, Opened, RebirthError};
use crate::environment::Environment;

/// The result of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revived {
    /// The group's new incarnation.
    pub incarnation: Incarnation,
    /// The end of the log that it goes on from.
    pub last: LogId,
}

/// The progress of a reset.
#[derive(Debug, Clone)]
enum Stage {
    /// Nobody has asked for it, or the life before hasn't ended.
    Due,
    Reading,
    Writing,
    Over(Result<Revived, Error>),
}

/// The way to ask for a reset, and to learn its outcome: all callers during one life of a replica get
/// the same one.
#[derive(Debug, Clone)]
pub struct Reset {
    asked: CancellationToken,
    stage: watch::Receiver<Stage>,
}

/// Makes the reset that is asked for. If it is dropped before, the callers learn that none is made.
#[derive(Debug)]
pub(super) struct Reviver {
    asked: CancellationToken,
    stage: watch::Sender<Stage>,
}

/// Returns the two ends of a reset that may be asked for.
pub(super) fn reset() -> (Reset, Reviver) {
    let (asked, (stage, heard)) = (CancellationToken::new(), watch::channel(Stage::Due));
    (Reset { asked: asked.clone(), stage: heard }, Reviver { asked, stage })
}

impl Reset {
    /// Asks for the reset, and waits for its end.
    pub(crate) async fn outcome(mut self) -> Result<Revived, Error> {
        self.asked.cancel();
        match self.stage.wait_for(|stage| matches!(stage, Stage::Over(_))).await.as_deref() {
            Ok(Stage::Over(result)) => result.clone(),
            Ok(_) | Err(_) => {
                Err(Error::Unavailable("the replica ended before it was reset: see its status".into()))
            }
        }
    }

    /// Returns the progress, for people.
    pub(super) fn progress(&self) -> &'static str {
        match &*self.stage.borrow() {
            Stage::Due => "it is to be the whole group, and ends its life before",
            Stage::Reading => "it is to be the whole group, and reads its log",
            Stage::Writing => "it is to be the whole group, and writes its state",
            Stage::Over(_) => "starting again",
        }
    }
}

impl Reviver {
    /// Waits until a caller asks for the reset.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Makes the replica the whole group. Nothing of its life before may use its files any more.
    pub(super) async fn revive(self, env: &Environment, group: GroupId) {
        let result = self.succeed_alone(env, group).await;
        match &result {
            Ok(Revived { incarnation, last }) => {
                tracing::warn!(%group, %incarnation, %last, "the group was revived from this replica alone");
            }
            Err(error) => tracing::error!(%group, %error, "the group wasn't revived"),
        }
        self.stage.send_replace(Stage::Over(result));
    }

    async fn succeed_alone(&self, env: &Environment, group: GroupId) -> Result<Revived, Error> {
        self.stage.send_replace(Stage::Reading);
        let failed = |reason: String| {
            Error::Internal(format!("the reset failed, and the replica goes on as it was: {reason}"))
        };
        let store = Arc::new(Store::within(env.memory.clone(), entropy::random_id()));
        let (before, last) = read_files(env, group, &store).await.map_err(failed)?;
        let incarnation = Incarnation(before.incarnation.0 + 1);
        store
            .apply(&encode_reset(env.clock.now_ms(), incarnation))
            .map_err(|error| failed(error.to_string()))?;

        self.stage.send_replace(Stage::Writing);
        let replica = ReplicaId(entropy::random_id());
        let identity = Identity { replica, group, belongs: Some(Belongs { incarnation, ..before }) };
        let succession = Succession::after(last, replica, env.server.clone()).map_err(failed)?;

        let (data, view) = (env.data.clone(), store.view());
        let rebirth = async move { data.rebirth(identity, succession, view).await };
        match skv_disk::run(&*env.disk, "reset", rebirth).await {
            Ok(Ok(())) => Ok(Revived { incarnation, last }),
            Ok(Err(RebirthError::Unchanged(error))) => Err(failed(error.to_string())),
            Ok(Err(RebirthError::Unfinished(error))) | Err(error) => Err(Error::OutcomeUnknown(format!(
                "the reset failed when all was written: {error}; this replica may be incarnation {incarnation} of \
                 {group} when it starts again. See its status before another one is reset"
            ))),
        }
    }
}

/// Reads all that the replica's files hold into an empty store, also what isn't known to be
/// committed: some of it may have been acknowledged by the majority that is lost. Returns the group
/// that the replica belongs to, and the end of its log.
async fn read_files(
    env: &Environment,
    group: GroupId,
    store: &Arc<Store>,
) -> Result<(Belongs, LogId), String> {
    let Opened { identity, log, state } = env.open(group, store.clone()).await.map_err(|e| e.to_string())?;
    let finished = log.finished();
    let last = read_all(log, state, store).await;
    finished.wait().await;
    let belongs = identity.belongs.ok_or("it belongs to no group")?;
    let last = last.map_err(|error| error.to_string())?.ok_or("there is nothing in its log")?;
    Ok((belongs, last))
}
