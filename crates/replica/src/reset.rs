//! The revival of a group that lost its majority for good: this replica becomes the only member of
//! the group's next incarnation. Everything that it hasn't seen is lost, which is why a person has to
//! ask for it. The old identity ends with the old incarnation (invariant 6).
//!
//! It is done between two lives of the replica and from its files alone, which nobody else uses then.
//! So it is done once at a time, needs no caller that waits for it, applies nothing twice, and leaves
//! the replica as it was if it fails.

use std::path::PathBuf;
use std::sync::Arc;

use skv_disk::entropy;
use skv_fail_points::fail_point;
use skv_proto::v1::reset_progress::Stage as WireStage;
use skv_proto::{Error, v1};
use skv_raft::types::LogId;
use skv_raft::{Succession, read_all};
use skv_sharding::{GroupId, Incarnation, ReplicaId};
use skv_snapshot::Progress;
use skv_store::{Store, encode_reset};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::data_dir::{Belongs, Identity, OpenError, Opened, RebirthError};
use crate::environment::Environment;

/// The result of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revived {
    /// The group's new incarnation.
    pub incarnation: Incarnation,
    /// The end of the log that it goes on from.
    pub last: LogId,
    /// The directory of what the replica had before, which is kept until a person removes it.
    pub former: PathBuf,
}

/// The progress of a reset.
#[derive(Debug, Clone)]
enum Stage {
    /// Nobody has asked for it, or the life before hasn't ended.
    Due,
    Reading {
        read: Progress,
    },
    Writing {
        written: Progress,
        /// About the number of bytes to write.
        of: u64,
    },
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

    /// Returns a description of the progress.
    pub(super) fn description(&self) -> &'static str {
        match &*self.stage.borrow() {
            Stage::Due => "it is to be the whole group, and ends its life before",
            Stage::Reading { .. } => "it is to be the whole group, and reads its log",
            Stage::Writing { .. } => "it is to be the whole group, and writes its state",
            Stage::Over(_) => "starting again",
        }
    }

    /// Returns the progress.
    pub(super) fn progress(&self) -> v1::ResetProgress {
        let (stage, bytes, of) = match &*self.stage.borrow() {
            Stage::Due => (WireStage::Ending, 0, 0),
            Stage::Reading { read } => (WireStage::Reading, read.bytes(), 0),
            Stage::Writing { written, of } => (WireStage::Writing, written.bytes(), *of),
            Stage::Over(_) => (WireStage::Starting, 0, 0),
        };
        v1::ResetProgress { stage: stage as i32, bytes, of }
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
            Ok(Revived { incarnation, last, former }) => {
                let former = former.display();
                tracing::warn!(%group, %incarnation, %last, %former, "the group was revived from this replica alone");
            }
            Err(error) => tracing::error!(%group, %error, "the group wasn't revived"),
        }
        self.stage.send_replace(Stage::Over(result));
    }

    async fn succeed_alone(&self, env: &Environment, group: GroupId) -> Result<Revived, Error> {
        let failed = |reason: String| {
            Error::Internal(format!("the reset failed, and the replica goes on as it was: {reason}"))
        };
        fail_point!("reset-begun");
        let store = Arc::new(Store::within(env.memory.clone(), entropy::random_id()));
        let read = Progress::default();
        self.stage.send_replace(Stage::Reading { read: read.clone() });
        let reading = {
            let (env, store) = (env.clone(), store.clone());
            async move { read_files(&env, group, &store, &read).await }
        };
        let read = skv_disk::run(&*env.disk, "reset", reading).await.map_err(|e| failed(e.to_string()))?;
        let (before, last) = read.map_err(|unread| match unread {
            Unread::Damaged(damage) => damaged(env, group, &damage),
            Unread::Otherwise(reason) => failed(reason),
        })?;
        fail_point!("reset-read");
        let incarnation = before.incarnation.next(entropy::random_id());
        store
            .apply(&encode_reset(env.clock.now_ms(), incarnation))
            .map_err(|error| failed(error.to_string()))?;

        let replica = ReplicaId(entropy::random_id());
        let identity = Identity { replica, group, belongs: Some(Belongs { incarnation, ..before }) };
        let succession = Succession::after(last, replica, env.server.clone()).map_err(failed)?;
        let (data, view, of) = (env.data.clone(), store.view(), store.stats().bytes);
        let stage = self.stage.clone();
        let writing = move |written| drop(stage.send_replace(Stage::Writing { written, of }));
        let rebirth = async move {
            // What the log holds may be gigabytes, which no other task is to wait for.
            let _store = store;
            data.rebirth(identity, succession, view, writing).await
        };
        match skv_disk::run(&*env.disk, "reset", rebirth).await {
            Ok(Ok(former)) => Ok(Revived { incarnation, last, former }),
            Ok(Err(RebirthError::Unchanged(error))) => Err(failed(error.to_string())),
            Ok(Err(RebirthError::Unfinished(error))) | Err(error) => Err(Error::OutcomeUnknown(format!(
                "the reset failed when all was written: {error}; this replica may be incarnation {incarnation} of \
                 {group} when it starts again. See its status before another one is reset"
            ))),
        }
    }
}

/// The reason why a replica's files can't be read.
enum Unread {
    /// They are damaged.
    Damaged(String),
    /// Any other reason, which may pass.
    Otherwise(String),
}

/// Returns the failure of a reset from files that are damaged: the replica finds that too when it starts again.
fn damaged(env: &Environment, group: GroupId, damage: &str) -> Error {
    let quarantine = env.data.quarantine_dir();
    Error::Internal(format!(
        "the reset failed, since this replica's files are damaged: {damage}. They go to {}, and an empty replica takes \
         the place of this one: choose another survivor of {group}",
        quarantine.display()
    ))
}

/// Reads all that the replica's files hold into an empty store, also what isn't known to be
/// committed: some of it may have been acknowledged by the majority that is lost. Returns the group
/// that the replica belongs to, and the end of its log.
async fn read_files(
    env: &Environment,
    group: GroupId,
    store: &Arc<Store>,
    read: &Progress,
) -> Result<(Belongs, LogId), Unread> {
    let opened = env.open(group, store.clone()).await.map_err(|error| match error {
        OpenError::Damaged { .. } => Unread::Damaged(error.to_string()),
        OpenError::UnsupportedVersion(_) | OpenError::Io(_) | OpenError::NotNow(_) => {
            Unread::Otherwise(error.to_string())
        }
    });
    let Opened { identity, log, state } = opened?;
    let finished = log.finished();
    let last = read_all(log, state, store, read).await;
    finished.wait().await;
    let otherwise = |reason: &str| Unread::Otherwise(reason.to_owned());
    let belongs = identity.belongs.ok_or_else(|| otherwise("it belongs to no group"))?;
    let last = last.map_err(|error| otherwise(&error.to_string()))?;
    Ok((belongs, last.ok_or_else(|| otherwise("there is nothing in its log"))?))
}
