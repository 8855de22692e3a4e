//! openraft's state machine over our store and snapshots.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use skv_disk::Disk;
use skv_fail_points::fail_point;
use skv_proto::v1;
use skv_snapshot::{Judge, OpenError, SnapshotDir, SnapshotFile};
use skv_store::{Applied, ApplyError, Inspection, Restored, Store, StoreView};

use crate::receiving::Receiving;
use crate::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::wire::{Wire as _, WireError};

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// The pause before a disk that doesn't take a snapshot from the leader is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// A group's store, and what openraft needs to know of it.
#[derive(Debug)]
pub struct StateMachine {
    store: Arc<Store>,
    snapshots: Arc<SnapshotDir>,
    disk: Arc<dyn Disk>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    applied_bytes: Arc<AtomicU64>,
    receiving: Receiving,
}

impl StateMachine {
    /// Opens a replica's snapshots and restores the newest one into the store, which must be
    /// empty. Reads every byte of it, on a task of the disk.
    pub async fn open(disk: Arc<dyn Disk>, dir: PathBuf, store: Arc<Store>) -> Result<Self, OpenError> {
        let opening = {
            let (disk, dir, store) = (Arc::clone(&disk), dir.clone(), Arc::clone(&store));
            async move { restore(disk, dir, &store) }
        };
        let opened = skv_disk::run(&*disk, "snapshot-open", opening).await;
        let (snapshots, meta) = opened.map_err(|source| OpenError::Io { file: dir, source })??;
        Ok(Self {
            store,
            snapshots,
            disk,
            last_applied: meta.last_log_id,
            membership: meta.last_membership,
            applied_bytes: Arc::default(),
            receiving: Receiving::default(),
        })
    }

    /// Returns the index of the last entry that the newest snapshot covers.
    pub fn covered(&self) -> Option<u64> {
        self.snapshots.current()?.header().last_log_id.as_ref().map(|id| id.index)
    }

    /// Returns the snapshots that are sent from here.
    pub(crate) fn receiving(&self) -> Receiving {
        self.receiving.clone()
    }

    /// Returns the directory in which snapshots from the leader are received.
    pub fn snapshots(&self) -> Arc<SnapshotDir> {
        Arc::clone(&self.snapshots)
    }

    /// Returns the bytes of the entries that were applied since the newest snapshot.
    pub fn applied_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.applied_bytes)
    }

    /// Makes an empty snapshot if there is none. It is named when a real one finds no room, or no
    /// file: openraft ends when a snapshot that it asked for fails.
    async fn ensure_snapshot(&self) -> io::Result<()> {
        if self.snapshots.current().is_some() {
            return Ok(());
        }
        let empty = Store::new(0).view().into_items();
        let snapshot = self.snapshots.write(v1::SnapshotHeader::default(), empty).await?;
        self.snapshots.keep(snapshot).await.map(drop)
    }
}

impl Drop for StateMachine {
    /// Closes the directory: a snapshot that is still being written must not land there later, when
    /// it may belong to another replica.
    fn drop(&mut self) {
        // Only one waits for the disk.
        if !self.snapshots.is_closing() {
            self.snapshots.close();
        }
    }
}

/// Opens the snapshots and restores the newest one. Blocks.
fn restore(
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store: &Store,
) -> Result<(Arc<SnapshotDir>, SnapshotMeta), OpenError> {
    let snapshots = Arc::new(SnapshotDir::open(disk, dir)?.judging(judge));
    let Some(snapshot) = snapshots.current() else { return Ok((snapshots, SnapshotMeta::default())) };
    let meta = meta_of(&snapshot).map_err(|e| OpenError::Damaged {
        file: snapshot.path().to_owned(),
        offset: 0,
        reason: e.to_string(),
    })?;
    store.restore(read(&snapshot, store)?);
    Ok((snapshots, meta))
}

/// Returns the log position and membership that a snapshot's file says it covers.
pub fn meta_of(snapshot: &SnapshotFile) -> Result<SnapshotMeta, WireError> {
    let v1::SnapshotHeader { last_log_id, membership, .. } = snapshot.header().clone();
    Ok(SnapshotMeta {
        last_log_id: last_log_id.map(LogId::from_wire).transpose()?,
        last_membership: membership.map(StoredMembership::from_wire).transpose()?.unwrap_or_default(),
    })
}

/// Returns the memory that a snapshot's state takes: about its length, if it doesn't say more.
fn memory_of(snapshot: &SnapshotFile) -> u64 {
    snapshot.header().memory_bytes.max(snapshot.length())
}

/// Returns a judge of a leader's snapshot. The leader may be of a newer version, or broken: openraft ends
/// when a snapshot can't be installed, so it gets none that can't.
fn judge() -> Judge {
    let mut inspection = Some(Inspection::default());
    Box::new(move |item| {
        let judged = match (item, &mut inspection) {
            (Some(item), Some(inspection)) => inspection.add(item),
            (None, inspection) => inspection.take().map_or(Ok(()), Inspection::finish),
            (Some(_), None) => Ok(()),
        };
        judged.map_err(|error| error.to_string())
    })
}

/// Reads the whole state from a snapshot. Blocks.
fn read(snapshot: &SnapshotFile, store: &Store) -> Result<Restored, OpenError> {
    let mut restore = store.begin_restore();
    snapshot.read(|item| restore.add(item).map_err(|e| e.to_string()))?;
    restore.finish().map_err(|e| OpenError::Damaged {
        file: snapshot.path().to_owned(),
        offset: snapshot.length(),
        reason: e.to_string(),
    })
}

fn stop(error: ApplyError, log_id: &LogId) -> io::Error {
    tracing::error!(%log_id, %error, "the replica stops: an entry can't be applied");
    io::Error::other(error)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let log_id = entry.log_id;
            fail_point!("applying-{}", log_id.index);
            let applied = match entry.payload {
                EntryPayload::Blank => Applied::Nothing,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Applied::Nothing
                }
                EntryPayload::Normal(payload) => {
                    let applied = if responder.is_some() {
                        self.store.apply(&payload.0)
                    } else {
                        self.store.apply_silently(&payload.0).map(|()| Applied::Nothing)
                    };
                    self.applied_bytes.fetch_add(payload.0.len() as u64, Ordering::Relaxed);
                    applied.map_err(|error| stop(error, &log_id))?
                }
            };
            self.last_applied = Some(log_id);
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        match self.ensure_snapshot().await {
            Err(error) if !force => {
                tracing::warn!(%error, "no snapshot is written for now");
                None
            }
            _ => Some(self.get_snapshot_builder().await),
        }
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            last_applied: self.last_applied,
            membership: self.membership.clone(),
            view: Some(self.store.view()),
            snapshots: Arc::clone(&self.snapshots),
            covered_bytes: self.applied_bytes.load(Ordering::Relaxed),
            applied_bytes: Arc::clone(&self.applied_bytes),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let (file, store) = (snapshot.clone(), Arc::clone(&self.store));
        let reading = async move {
            // Where both don't fit, the old state goes first. If the new one can't be read then,
            // the replica ends, as it does in any case.
            if !store.budget().can_hold(memory_of(&file), 0) {
                drop(store.make_room());
            }
            read(&file, &store)
        };
        let restored = skv_disk::run(&*self.disk, "snapshot-read", reading).await?;
        let restored = restored.map_err(io::Error::other)?;
        // openraft ends when that fails.
        skv_disk::patiently("snapshot-keep", RETRY, || self.snapshots.keep(snapshot.clone())).await?;
        let old = self.store.restore(restored);
        // The old state may be large, and the leader waits for an answer.
        self.disk.spawn("state-drop", Box::pin(async move { drop(old) }));
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.applied_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        // Nobody but the senders of snapshots asks.
        self.receiving.again().or_else(|| self.snapshots.current()).map(described).transpose()
    }
}

/// Writes one snapshot.
#[derive(Debug)]
pub struct SnapshotBuilder {
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// The view, which is taken out when it is written.
    view: Option<StoreView>,
    snapshots: Arc<SnapshotDir>,
    /// The bytes of the entries that this snapshot covers and the one before didn't.
    covered_bytes: u64,
    applied_bytes: Arc<AtomicU64>,
}

impl SnapshotBuilder {
    async fn write(&mut self) -> io::Result<SnapshotFile> {
        let view = self.view.take().ok_or_else(|| io::Error::other("this snapshot was written before"))?;
        let (cluster_id, group_uid) = view.identity();
        let header = v1::SnapshotHeader {
            last_log_id: self.last_applied.map(|id| id.to_wire()),
            membership: Some(self.membership.to_wire()),
            cluster_id,
            group_uid,
            memory_bytes: view.memory(),
        };
        let snapshot = self.snapshots.write(header, view.into_items()).await?;
        self.snapshots.keep(snapshot).await
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        match (self.write().await, self.snapshots.current()) {
            (Ok(snapshot), _) => {
                // A snapshot from the leader may have set it to 0 meanwhile.
                let _ = self.applied_bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                    Some(bytes.saturating_sub(self.covered_bytes))
                });
                described(snapshot)
            }
            (Err(error), Some(current)) if skv_disk::may_pass(&error) => {
                tracing::warn!(%error, "no snapshot can be written; the one before stays");
                described(current)
            }
            (Err(error), _) => Err(error),
        }
    }
}

fn described(snapshot: SnapshotFile) -> io::Result<Snapshot> {
    Ok(Snapshot { meta: meta_of(&snapshot).map_err(io::Error::other)?, snapshot })
}
