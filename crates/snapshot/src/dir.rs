//! The directory of one replica's snapshots. It holds the newest one, and files that are
//! being written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use skv_disk::Disk;
use skv_proto::v1;

use crate::file::{OpenError, SnapshotFile};
use crate::format::Encoder;
use crate::growing::Growing;
use crate::progress::Progress;
use crate::spool::Spool;

const EXTENSION: &str = "snap";

/// The name of a snapshot of nothing.
const EMPTY: &str = "empty";

/// The extension of files that are incomplete, or not yet wanted.
const TEMPORARY_EXTENSION: &str = "tmp";

/// The directory of a replica's snapshots.
#[derive(Debug)]
pub struct SnapshotDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    current: Mutex<Current>,
    written: Progress,
}

#[derive(Debug)]
enum Current {
    /// The newest snapshot, if there was ever one.
    Open(Option<SnapshotFile>),
    /// The replica has stopped, and somebody else may use the directory.
    Closed,
}

impl SnapshotDir {
    /// Opens the newest snapshot of a directory that exists, and removes what a crash left
    /// behind. The snapshot's items are checked when they are read. Blocks.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, OpenError> {
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| OpenError::Io { file, source }
        };
        let mut snapshots = Vec::new();
        for file in disk.list(&path).map_err(io(&path))? {
            if let Some(position) = position_of(&file) {
                snapshots.push((position, file));
            } else if file.extension().is_some_and(|e| e == TEMPORARY_EXTENSION) {
                disk.remove(&file).map_err(io(&file))?;
            }
        }
        snapshots.sort();
        let current = match snapshots.pop() {
            None => None,
            Some((position, file)) => {
                let snapshot = SnapshotFile::open(&disk, &file, Progress::default())?;
                if position_in(snapshot.header()) != position {
                    let reason = "its name and its header disagree".to_owned();
                    return Err(OpenError::Damaged { file, offset: 0, reason });
                }
                Some(snapshot)
            }
        };
        // The older ones go only once the newest is known to be there.
        for (_, file) in snapshots {
            disk.remove(&file).map_err(io(&file))?;
        }
        let current = Mutex::new(Current::Open(current));
        Ok(Self { disk, path, current, written: Progress::default() })
    }

    /// Returns the newest snapshot; `None` if there was never one.
    pub fn current(&self) -> Option<SnapshotFile> {
        match &*self.current.lock() {
            Current::Open(snapshot) => snapshot.clone(),
            Current::Closed => None,
        }
    }

    /// Writes a snapshot to a temporary file, on a task of the disk.
    pub async fn write(
        &self,
        header: v1::SnapshotHeader,
        items: impl Iterator<Item = v1::SnapshotItem> + Send + 'static,
    ) -> io::Result<SnapshotFile> {
        let (disk, path, written) = (Arc::clone(&self.disk), self.temporary(), self.written.clone());
        skv_disk::run(&*self.disk, "snapshot-write", async move {
            disk.lower_priority();
            let file = write(&*disk, &path, &header, items, written).await;
            if file.is_err() {
                let _ = disk.remove(&path);
            }
            file?;
            let snapshot = SnapshotFile::open(&disk, &path, Progress::default());
            if snapshot.is_err() {
                let _ = disk.remove(&path);
            }
            let snapshot = snapshot.map_err(io::Error::other)?;
            snapshot.set_temporary();
            Ok(snapshot)
        })
        .await?
    }

    /// Returns the bytes written of all snapshots together that are our own.
    pub fn written(&self) -> Progress {
        self.written.clone()
    }

    /// Starts to receive a snapshot of `length` bytes.
    pub fn spool(&self, length: u64) -> Spool {
        Spool::start(&self.disk, self.temporary(), length)
    }

    /// Makes a snapshot the current one, durably, and removes the one before; unless a newer one
    /// exists. Returns the current one. A file from elsewhere is copied. A failure that may pass has
    /// changed nothing, and the call can be tried again.
    pub async fn keep(self: &Arc<Self>, snapshot: SnapshotFile) -> io::Result<SnapshotFile> {
        let this = Arc::clone(self);
        skv_disk::run(&*self.disk, "snapshot-keep", async move {
            let position = position_in(snapshot.header());
            let snapshot = this.own(snapshot).await?;
            let mut current = this.current.lock();
            let before = match &*current {
                Current::Closed => return Err(io::Error::other("the replica has stopped")),
                Current::Open(before) => before.clone(),
            };
            if let Some(before) = &before
                && position_in(before.header()) >= position
            {
                return Ok(before.clone());
            }
            let path = this.path.join(name(position));
            this.disk.rename(snapshot.path(), &path)?;
            if let Err(error) = this.disk.sync_dir(&this.path) {
                this.disk.rename(&path, snapshot.path())?;
                return Err(error);
            }
            snapshot.set_permanent();
            let kept = snapshot.renamed(path);
            *current = Current::Open(Some(kept.clone()));
            if let Some(before) = before {
                this.disk.remove(before.path())?;
            }
            Ok(kept)
        })
        .await?
    }

    /// Ends the keeping of snapshots: the directory may get another user.
    pub fn close(&self) {
        *self.current.lock() = Current::Closed;
    }

    /// Returns a snapshot as a file of this directory.
    async fn own(&self, snapshot: SnapshotFile) -> io::Result<SnapshotFile> {
        if snapshot.is_in(&self.disk, &self.path) {
            return Ok(snapshot);
        }
        let path = self.temporary();
        let copy = async {
            let mut file = Growing::create(&*self.disk, &path, self.written.clone())?;
            while file.length() < snapshot.length() {
                file.append(&snapshot.piece(file.length())?).await?;
            }
            file.finish().await?;
            SnapshotFile::open(&self.disk, &path, Progress::default()).map_err(io::Error::other)
        };
        let copy = copy.await;
        match &copy {
            Ok(copy) => copy.set_temporary(),
            Err(_) => _ = self.disk.remove(&path),
        }
        copy
    }

    /// Returns a name that nobody else has, not even a closed directory in the same place whose last
    /// files are still being dropped.
    fn temporary(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{number}.{TEMPORARY_EXTENSION}"))
    }
}

async fn write(
    disk: &dyn Disk,
    path: &Path,
    header: &v1::SnapshotHeader,
    items: impl Iterator<Item = v1::SnapshotItem>,
    written: Progress,
) -> io::Result<()> {
    let mut file = Growing::create(disk, path, written)?;
    let (mut encoder, mut piece) = Encoder::new(header);
    for item in items {
        if let Some(next) = encoder.add(&item) {
            file.append(&std::mem::replace(&mut piece, next)).await?;
            // A simulated disk, or one in memory, shares its threads with others.
            tokio::task::yield_now().await;
        }
    }
    file.append(&piece).await?;
    file.append(&encoder.finish()).await?;
    file.finish().await
}

/// The index and term of the last entry that a snapshot covers. Of two snapshots of a
/// group the greater one is newer; one of nothing is the oldest.
type Position = Option<(u64, u64)>;

fn position_in(header: &v1::SnapshotHeader) -> Position {
    header.last_log_id.as_ref().map(|id| (id.index, id.term))
}

fn name(position: Position) -> String {
    position.map_or(format!("{EMPTY}.{EXTENSION}"), |(index, term)| format!("{term}-{index}.{EXTENSION}"))
}

/// Returns the position in a file's name; `None` if the file isn't a snapshot.
fn position_of(file: &Path) -> Option<Position> {
    let stem = file.file_stem()?.to_str()?;
    let position = match stem.split_once('-') {
        Some((term, index)) => Some((index.parse().ok()?, term.parse().ok()?)),
        None => None,
    };
    (file.file_name()?.to_str()? == name(position)).then_some(position)
}
