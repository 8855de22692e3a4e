//! A replica's directory: its identity, its log and its snapshots.
//!
//! It is made in one step, under another name first, so that a part that is missing later
//! was lost and the replica must not go on as if it had never known anything (invariant 6).
//!
//! ```text
//! DATA/g0/identity         who this replica is
//! DATA/g0/log/             the write-ahead log and the vote
//! DATA/g0/snapshots/       the newest snapshot
//! DATA/g0.reborn/          what a reset puts in its place; nothing while that is there
//! DATA/quarantine/g0-ID/   a damaged directory, kept until a successor is a voter
//! DATA/former/g0-ID/       the directory of a former life of the group, kept until a person removes it
//! ```

mod former;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skv_disk::Disk;
use skv_disk::checked_file::{self, ReadError};
use skv_disk::entropy;
use skv_fail_points::fail_point;
use skv_log::Log;
use skv_proto::v1;
use skv_raft::Succession;
use skv_raft::header::Place;
use skv_raft::state_machine::StateMachine;
use skv_raft::wire::Wire;
use skv_sharding::{ClusterId, GroupId, GroupUid, Incarnation, ReplicaId};
use skv_snapshot::{Progress, SnapshotDir};
use skv_store::{Store, StoreView};

pub use former::Former;

const IDENTITY_FORMAT: &str = "skv-identity/1";

/// The identity of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The replica's id. It is made with the directory, and never changed.
    pub replica: ReplicaId,
    /// The group that the directory was made for.
    pub group: GroupId,
    /// The group that it belongs to; `None` until the manager has said so.
    pub belongs: Option<Belongs>,
}

/// The group that a replica belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongs {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub uid: GroupUid,
    /// The incarnation of the group.
    pub incarnation: Incarnation,
}

impl Identity {
    /// Returns its place, once it belongs to a group.
    pub fn place(&self) -> Option<Place> {
        self.belongs.map(|Belongs { cluster, uid, incarnation }| Place {
            cluster,
            group: self.group,
            uid,
            incarnation,
            replica: self.replica,
        })
    }
}

/// The reason why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Some of its bytes aren't those that were written: it must never be used again.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// The offset of the damage.
        offset: u64,
        /// A description of the damage.
        reason: String,
    },
    /// Another version wrote it; nothing is wrong with it.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// The disk failed.
    #[error("{0}")]
    Io(String),
    /// The disk has no room, or no file can be opened, now.
    #[error("{0}")]
    NotNow(String),
}

impl OpenError {
    fn of_disk(text: String, source: &io::Error) -> OpenError {
        if skv_disk::may_pass(source) { OpenError::NotNow(text) } else { OpenError::Io(text) }
    }
}

/// The reason why a replica wasn't replaced by the one that was made from it.
#[derive(Debug, thiserror::Error)]
pub enum RebirthError {
    /// The replica is what it was, and will be.
    #[error("{0}")]
    Unchanged(io::Error),
    /// The replica was put aside already: the new one may be in its place when the directory is
    /// opened again.
    #[error("{0}")]
    Unfinished(io::Error),
}

/// The directories of one server's replicas.
#[derive(Debug, Clone)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    log_options: skv_log::Options,
}

/// The content of a replica's directory, opened.
pub struct Opened {
    /// Its identity.
    pub identity: Identity,
    /// Its log.
    pub log: Log,
    /// Its state, as of its newest snapshot.
    pub state: StateMachine,
}

impl DataDir {
    /// Returns the directories below `root`.
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, log_options: skv_log::Options) -> Self {
        DataDir { disk, root, log_options }
    }

    fn replica_dir(&self, group: GroupId) -> PathBuf {
        self.root.join(group.to_string())
    }

    /// Opens a group's replica, making it first if there is none.
    pub async fn open(&self, group: GroupId, store: Arc<Store>) -> Result<Opened, OpenError> {
        let (dir, reborn) = (self.replica_dir(group), self.reborn_dir(group));
        if self.disk.exists(&dir).map_err(io_error(&dir))? {
            self.forget_reborn(group).map_err(io_error(&reborn))?;
        } else if self.disk.exists(&reborn.join("identity")).map_err(io_error(&reborn))? {
            self.rename_reborn(group).map_err(io_error(&dir))?;
        } else {
            self.format(group).await.map_err(io_error(&dir))?;
        }
        let file = dir.join("identity");
        let identity: Identity =
            checked_file::read(&*self.disk, &file, IDENTITY_FORMAT)?.ok_or_else(|| OpenError::Damaged {
                file: file.display().to_string(),
                offset: 0,
                reason: "the file is missing".into(),
            })?;
        let (log, recovered) = Log::open(self.disk.clone(), &dir.join("log"), &self.log_options).await?;
        let finished = log.finished();
        match self.state_of(&dir, &identity, &log, &recovered, store).await {
            Ok(state) => Ok(Opened { identity, log, state }),
            Err(error) => {
                // The directory may be opened again, or get a successor of its name.
                drop(log);
                finished.wait().await;
                finished.close().await.map_err(io_error(&dir))?;
                Err(error)
            }
        }
    }

    /// Opens the state of a replica whose log is open, if the two belong together.
    async fn state_of(
        &self,
        dir: &Path,
        identity: &Identity,
        log: &Log,
        recovered: &skv_log::Recovered,
        store: Arc<Store>,
    ) -> Result<StateMachine, OpenError> {
        if recovered.replica != identity.replica.0 {
            return Err(OpenError::Damaged {
                file: dir.join("log").display().to_string(),
                offset: 0,
                reason: format!("it is the log of replica {}", ReplicaId(recovered.replica)),
            });
        }
        let state = StateMachine::open(self.disk.clone(), dir.join("snapshots"), store).await?;
        // Entries that were purged must lie in a snapshot, or they are gone.
        let covered = state.covered();
        if let Some(purged) =
            log.purged().filter(|purged| covered.is_none_or(|covered| covered < purged.index))
        {
            return Err(OpenError::Damaged {
                file: dir.join("snapshots").display().to_string(),
                offset: 0,
                reason: format!("the log begins after entry {}, which no snapshot covers", purged.index),
            });
        }
        Ok(state)
    }

    /// Makes a new, empty replica with an identity of its own.
    async fn format(&self, group: GroupId) -> io::Result<()> {
        let identity = Identity { replica: ReplicaId(entropy::random_id()), group, belongs: None };
        let new = self.root.join(format!("{group}.new"));
        self.prepare(&new, &identity).await?;
        checked_file::write(&*self.disk, &new.join("identity"), IDENTITY_FORMAT, &identity).await?;
        self.disk.sync_dir(&new)?;
        self.disk.rename(&new, &self.replica_dir(group))?;
        self.disk.sync_dir(&self.root)
    }

    /// Makes a directory with all parts but the identity.
    async fn prepare(&self, new: &Path, identity: &Identity) -> io::Result<()> {
        self.disk.remove_dir_all(new)?;
        self.disk.create_dir_all(&new.join("snapshots"))?;
        Log::format(&self.disk, &new.join("log"), identity.replica.0, &self.log_options).await
    }

    /// Replaces a group's replica by a new one that begins with a snapshot and a vote. Returns the place
    /// of the old directory, which is kept as a former life. `writing` gets the progress.
    pub async fn rebirth(
        &self,
        identity: Identity,
        succession: Succession,
        view: StoreView,
        writing: impl FnOnce(Progress),
    ) -> Result<PathBuf, RebirthError> {
        let group = identity.group;
        let written = self.write_reborn(identity, succession, view, writing).await;
        written.map_err(RebirthError::Unchanged)?;
        fail_point!("reborn-written");
        let replaced = self.put_aside(group, &self.former_dir()).and_then(|former| {
            fail_point!("former-kept");
            self.rename_reborn(group)?;
            fail_point!("reborn-in-place");
            Ok(former)
        });
        replaced.map_err(|error| match self.disk.exists(&self.replica_dir(group)) {
            Ok(true) => RebirthError::Unchanged(error),
            Ok(false) | Err(_) => RebirthError::Unfinished(error),
        })
    }

    /// Makes the new replica beside the old one. The identity is written last, so that
    /// [`open`](Self::open) finishes a replacement only if it has everything.
    async fn write_reborn(
        &self,
        identity: Identity,
        succession: Succession,
        view: StoreView,
        writing: impl FnOnce(Progress),
    ) -> io::Result<()> {
        let reborn = self.reborn_dir(identity.group);
        self.prepare(&reborn, &identity).await?;
        let opened = Log::open(self.disk.clone(), &reborn.join("log"), &self.log_options).await;
        let (log, _) = opened.map_err(io::Error::other)?;
        let finished = log.finished();
        succession.save_vote(log).await?;
        finished.wait().await;
        let snapshots =
            SnapshotDir::open(self.disk.clone(), reborn.join("snapshots")).map_err(io::Error::other)?;
        let snapshots = Arc::new(snapshots);
        writing(snapshots.written());
        let (cluster_id, group_uid) = view.identity();
        let header = v1::SnapshotHeader {
            last_log_id: succession.meta.last_log_id.as_ref().map(Wire::to_wire),
            membership: Some(succession.meta.last_membership.to_wire()),
            cluster_id,
            group_uid,
            memory_bytes: view.memory(),
        };
        let snapshot = snapshots.write(header, view.into_items()).await?;
        snapshots.keep(snapshot).await?;
        fail_point!("reborn-begun");
        checked_file::write(&*self.disk, &reborn.join("identity"), IDENTITY_FORMAT, &identity).await?;
        self.disk.sync_dir(&reborn)?;
        self.disk.sync_dir(&self.root)
    }

    fn reborn_dir(&self, group: GroupId) -> PathBuf {
        self.root.join(format!("{group}.reborn"))
    }

    /// Gives a reborn replica the place of the one that was put aside.
    fn rename_reborn(&self, group: GroupId) -> io::Result<()> {
        self.disk.rename(&self.reborn_dir(group), &self.replica_dir(group))?;
        self.disk.sync_dir(&self.root)
    }

    /// Removes what is left of a rebirth that didn't happen: it would come to life, with its old
    /// state, when the replica is put aside for another reason (invariant 6).
    fn forget_reborn(&self, group: GroupId) -> io::Result<()> {
        let reborn = self.reborn_dir(group);
        if self.disk.exists(&reborn)? {
            self.disk.remove_dir_all(&reborn)?;
            self.disk.sync_dir(&self.root)?;
        }
        Ok(())
    }

    /// Records who the replica is, durably.
    pub async fn save_identity(&self, identity: &Identity) -> io::Result<()> {
        let file = self.replica_dir(identity.group).join("identity");
        checked_file::write(&*self.disk, &file, IDENTITY_FORMAT, identity).await
    }

    /// Puts a directory aside, so that the next [`open`](Self::open) makes a new, empty replica.
    /// Returns its new place. The call can be repeated if it fails.
    pub fn quarantine(&self, group: GroupId) -> io::Result<PathBuf> {
        self.forget_reborn(group)?;
        self.put_aside(group, &self.quarantine_dir())
    }

    /// Returns the directory of what is kept until a successor is a voter.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Removes the directory of a replica that holds nothing, so that the next [`open`](Self::open) makes a
    /// new one. The call can be repeated if it fails.
    pub fn discard(&self, group: GroupId) -> io::Result<()> {
        self.forget_reborn(group)?;
        // No part of it may be found under its name.
        let (dir, unnamed) = (self.replica_dir(group), self.root.join(format!("{group}.new")));
        self.disk.remove_dir_all(&unnamed)?;
        if self.disk.exists(&dir)? {
            self.disk.rename(&dir, &unnamed)?;
            self.disk.sync_dir(&self.root)?;
            self.disk.remove_dir_all(&unnamed)?;
        }
        Ok(())
    }

    /// Moves a replica's directory to another one; returns that if there is nothing to move any more.
    fn put_aside(&self, group: GroupId, to: &Path) -> io::Result<PathBuf> {
        self.disk.create_dir_all(to)?;
        self.disk.sync_dir(&self.root)?;
        let dir = self.replica_dir(group);
        let mut place = to.to_owned();
        if self.disk.exists(&dir)? {
            place = to.join(format!("{group}-{:016x}", entropy::random_id()));
            self.disk.rename(&dir, &place)?;
        }
        self.disk.sync_dir(to)?;
        self.disk.sync_dir(&self.root)?;
        Ok(place)
    }

    /// Removes what was put aside for a group, once a successor of this incarnation is a voter. What is of
    /// another incarnation is kept as a former life, and so is what doesn't say of which it is: the group was
    /// revived without it, and it may be the only copy of acknowledged writes.
    pub fn clear_quarantine(
        &self,
        group: GroupId,
        uid: GroupUid,
        incarnation: Incarnation,
    ) -> io::Result<()> {
        let quarantine = self.quarantine_dir();
        if !self.disk.exists(&quarantine)? {
            return Ok(());
        }
        for dir in self.disk.list(&quarantine)?.into_iter().filter(|dir| is_of(group, dir)) {
            if self.may_be_former(&dir, uid, incarnation)? {
                tracing::warn!(%group, dir = %dir.display(), "damaged files may be of a former life of the group: keeping them");
                self.keep_directory(&dir)?;
            } else {
                tracing::info!(%group, dir = %dir.display(), "a successor is a voter: removing the damaged files");
                self.disk.remove_dir_all(&dir)?;
            }
        }
        Ok(())
    }
}

/// Returns true if a directory that was put aside is one of this group.
fn is_of(group: GroupId, dir: &Path) -> bool {
    let prefix = format!("{group}-");
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> OpenError + '_ {
    move |error| OpenError::of_disk(format!("{}: {error}", path.display()), &error)
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { file, offset, reason } => {
                OpenError::Damaged { file: file.display().to_string(), offset, reason }
            }
            ReadError::UnsupportedVersion { .. } => OpenError::UnsupportedVersion(error.to_string()),
            ReadError::Io { ref source, .. } => OpenError::of_disk(error.to_string(), source),
        }
    }
}

impl From<skv_log::OpenError> for OpenError {
    fn from(error: skv_log::OpenError) -> Self {
        match error {
            skv_log::OpenError::Damaged(skv_log::Damage { file, offset, reason }) => {
                OpenError::Damaged { file: file.display().to_string(), offset, reason }
            }
            skv_log::OpenError::UnsupportedVersion { .. } => OpenError::UnsupportedVersion(error.to_string()),
            skv_log::OpenError::Io { ref source, .. } => OpenError::of_disk(error.to_string(), source),
        }
    }
}

impl From<skv_snapshot::OpenError> for OpenError {
    fn from(error: skv_snapshot::OpenError) -> Self {
        match error {
            skv_snapshot::OpenError::Damaged { file, offset, reason } => {
                OpenError::Damaged { file: file.display().to_string(), offset, reason }
            }
            skv_snapshot::OpenError::UnsupportedVersion { .. } => {
                OpenError::UnsupportedVersion(error.to_string())
            }
            skv_snapshot::OpenError::Io { ref source, .. } => OpenError::of_disk(error.to_string(), source),
        }
    }
}
