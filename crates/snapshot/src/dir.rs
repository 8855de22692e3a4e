//! The directory of one replica's snapshots. It holds the newest one, and files that are
//! being written.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use skv_disk::Disk;
use skv_proto::v1;

use crate::file::{OpenError, SnapshotFile, whole_prefix};
use crate::format::Encoder;
use crate::growing::Growing;
use crate::place::Place;
use crate::progress::Progress;
use crate::receiving::{self, Fingerprint, Receiving};
use crate::spool::{Announced, Judge, Spool};

const EXTENSION: &str = "snap";

/// The name of a snapshot of nothing.
const EMPTY: &str = "empty";

/// The extension of files that are incomplete, or not yet wanted.
const TEMPORARY_EXTENSION: &str = "tmp";

/// The directory of a replica's snapshots.
#[derive(Debug)]
pub struct SnapshotDir {
    place: Arc<Place>,
    /// The newest snapshot, if there was ever one. It is asked for by tasks that mustn't wait for the disk.
    current: Mutex<Option<SnapshotFile>>,
    written: Progress,
    receiving: Receiving,
    judge: fn() -> Judge,
}

impl SnapshotDir {
    /// Opens the newest snapshot of a directory, and removes what a crash left behind. The snapshot's items
    /// are checked when they are read. A directory that is missing is made again: whoever opens it knows
    /// whether a snapshot has to be there. Blocks.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, OpenError> {
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| OpenError::Io { file, source }
        };
        let place = Place::new(disk, path);
        let (disk, path) = (&place.disk, &place.path);
        place.make_again().map_err(io(path))?;
        let (mut snapshots, mut parts) = (Vec::new(), Vec::new());
        for file in disk.list(path).map_err(io(path))? {
            let is = |extension| file.extension().is_some_and(|e| e == extension);
            if let Some(position) = position_of(&file) {
                snapshots.push((position, file));
            } else if is(receiving::EXTENSION) {
                parts.push(file);
            } else if is(TEMPORARY_EXTENSION) {
                disk.remove(&file).map_err(io(&file))?;
            }
        }
        snapshots.sort();
        let mut newest = None;
        let current = match snapshots.pop() {
            None => None,
            Some((position, file)) => {
                let snapshot = SnapshotFile::open(disk, &file, Progress::default())?;
                if position_in(snapshot.header()) != position {
                    let reason = "its name and its header disagree".to_owned();
                    return Err(OpenError::Damaged { file, offset: 0, reason });
                }
                newest = position;
                Some(snapshot)
            }
        };
        // The older ones go only once the newest is known to be there.
        for (_, file) in snapshots {
            disk.remove(&file).map_err(io(&file))?;
        }
        let left = receiving::sort_out(&**disk, parts, newest).map_err(io(path))?;
        Ok(Self {
            place: Arc::new(place),
            current: Mutex::new(current),
            written: Progress::default(),
            receiving: Receiving::with(left),
            judge: || Box::new(|_| Ok(())),
        })
    }

    /// Has the items of snapshots that are received judged, each snapshot by a judge of its own.
    #[must_use]
    pub fn judging(self, judge: fn() -> Judge) -> Self {
        Self { judge, ..self }
    }

    /// Returns the newest snapshot; `None` if there was never one, or the directory is closed.
    pub fn current(&self) -> Option<SnapshotFile> {
        self.current.lock().clone()
    }

    /// Writes a snapshot to a temporary file, on a task of the disk.
    pub async fn write(
        &self,
        header: v1::SnapshotHeader,
        items: impl Iterator<Item = v1::SnapshotItem> + Send + 'static,
    ) -> io::Result<SnapshotFile> {
        let (place, path, written) = (Arc::clone(&self.place), self.temporary(), self.written.clone());
        skv_disk::run(&*self.place.disk, "snapshot-write", async move {
            place.disk.lower_priority();
            let file = Growing::from(place.create(&path)?, 0, written);
            let snapshot = match write(file, &header, items).await {
                Ok(()) => {
                    let opened = SnapshotFile::open(&place.disk, &path, Progress::default());
                    opened.map_err(io::Error::other)
                }
                Err(error) => Err(error),
            };
            match &snapshot {
                Ok(snapshot) => snapshot.set_temporary(),
                Err(_) => _ = place.disk.remove(&path),
            }
            snapshot
        })
        .await?
    }

    /// Returns the bytes written of all snapshots together that are our own.
    pub fn written(&self) -> Progress {
        self.written.clone()
    }

    /// Starts to receive a snapshot of `length` bytes, of which nothing else is known.
    pub fn spool(&self, length: u64) -> Spool {
        let fingerprint = Fingerprint { term: 0, index: 0, length, checksum: 0 };
        self.start(Announced { fingerprint, from: 0, resumable: false })
    }

    /// Starts to receive a snapshot, or goes on at byte `from`, which must be [`held`](Self::held).
    pub fn resume(&self, fingerprint: Fingerprint, from: u64) -> Spool {
        self.start(Announced { fingerprint, from, resumable: true })
    }

    fn start(&self, announced: Announced) -> Spool {
        Spool::start(Arc::clone(&self.place), announced, self.receiving.turn(), (self.judge)())
    }

    /// Returns the bytes that are here of a snapshot whose transfer was interrupted. A transfer that is
    /// still under way ends: its sender has begun another one.
    pub async fn held(&self, fingerprint: Fingerprint) -> io::Result<u64> {
        let (place, turn) = (Arc::clone(&self.place), self.receiving.turn());
        skv_disk::run(&*self.place.disk, "snapshot-held", async move {
            let mut left = turn.left.lock().await;
            let Some(found) = left.as_mut().filter(|left| left.fingerprint == fingerprint) else { return 0 };
            // After a crash the end of the file may be missing.
            *found.length.get_or_insert_with(|| whole_prefix(&*place.disk, &found.path))
        })
        .await
    }

    /// Makes a snapshot the current one, durably, and removes the one before; unless a newer one
    /// exists. Returns the current one. A file from elsewhere is copied. A failure that may pass has
    /// changed nothing, and the call can be tried again.
    pub async fn keep(self: &Arc<Self>, snapshot: SnapshotFile) -> io::Result<SnapshotFile> {
        let this = Arc::clone(self);
        skv_disk::run(&*self.place.disk, "snapshot-keep", async move {
            let snapshot = this.own(snapshot).await?;
            this.place.change(|| this.put_in_place(&snapshot))
        })
        .await?
    }

    /// Gives a file of the directory the name of the current one. Nobody else changes the directory.
    fn put_in_place(&self, snapshot: &SnapshotFile) -> io::Result<SnapshotFile> {
        let Place { disk, path: dir, .. } = &*self.place;
        let position = position_in(snapshot.header());
        let before = self.current();
        if let Some(before) = &before
            && position_in(before.header()) >= position
        {
            return Ok(before.clone());
        }
        let path = dir.join(name(position));
        disk.rename(snapshot.path(), &path)?;
        if let Err(error) = disk.sync_dir(dir) {
            disk.rename(&path, snapshot.path())?;
            return Err(error);
        }
        snapshot.set_permanent();
        let kept = snapshot.renamed(path);
        *self.current.lock() = Some(kept.clone());
        match before.map_or(Ok(()), |before| disk.remove(before.path())) {
            // Somebody removed the directory, and it was made again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(kept),
            removed => removed.map(|()| kept),
        }
    }

    /// Ends the keeping of snapshots: the directory may get another user. Blocks as long as the disk does.
    pub fn close(&self) {
        self.place.close();
        *self.current.lock() = None;
    }

    /// Does the same in a task of the disk.
    pub async fn closed(self: &Arc<Self>) -> io::Result<()> {
        let this = Arc::clone(self);
        skv_disk::run(&*self.place.disk, "snapshot-close", async move { this.close() }).await
    }

    /// Returns true if somebody closes it, or has closed it.
    pub fn is_closing(&self) -> bool {
        self.place.is_closing()
    }

    /// Returns a snapshot as a file of this directory.
    async fn own(&self, snapshot: SnapshotFile) -> io::Result<SnapshotFile> {
        let disk = &self.place.disk;
        // A file that somebody removed can still be read, and is copied too.
        if snapshot.is_in(disk, &self.place.path) && disk.exists(snapshot.path())? {
            return Ok(snapshot);
        }
        let path = self.temporary();
        let mut file = Growing::from(self.place.create(&path)?, 0, self.written.clone());
        let copy = async {
            while file.length() < snapshot.length() {
                file.append(&snapshot.piece(file.length())?).await?;
            }
            file.finish().await?;
            SnapshotFile::open(disk, &path, Progress::default()).map_err(io::Error::other)
        };
        let copy = copy.await;
        match &copy {
            Ok(copy) => copy.set_temporary(),
            Err(_) => _ = disk.remove(&path),
        }
        copy
    }

    /// Returns a name that nobody else has, not even a closed directory in the same place whose last
    /// files are still being dropped.
    fn temporary(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.place.path.join(format!("{number}.{TEMPORARY_EXTENSION}"))
    }
}

async fn write(
    mut file: Growing,
    header: &v1::SnapshotHeader,
    items: impl Iterator<Item = v1::SnapshotItem>,
) -> io::Result<()> {
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
