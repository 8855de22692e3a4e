//! A snapshot on its way in from the leader.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use skv_proto::v1;
use tokio::sync::{mpsc, oneshot};

use crate::file::{OpenError, SnapshotFile};
use crate::growing::Growing;
use crate::place::Place;
use crate::progress::Progress;
use crate::receiving::{self, Fingerprint, Left, Turn};

/// The number of chunks that wait to be written.
const CHUNKS_AHEAD: usize = 2;

/// Judges the items of a snapshot, one after the other, and with `None` the whole.
pub type Judge = Box<dyn FnMut(Option<v1::SnapshotItem>) -> Result<(), String> + Send>;

/// A snapshot that couldn't be received. The one before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk failed, or is full.
    #[error("the received snapshot can't be written: {0}")]
    Io(#[from] io::Error),
    /// The length of the received snapshot isn't the announced one.
    #[error("{announced} bytes of a snapshot were announced, but {received} came")]
    Length {
        /// The announced bytes.
        announced: u64,
        /// The bytes received so far.
        received: u64,
    },
    /// The transfer was to go on where nothing is.
    #[error("there is nothing here of the snapshot that would go on at byte {0}")]
    NothingLeft(u64),
    /// The received snapshot can't be read.
    #[error("the received snapshot is wrong: {0}")]
    Wrong(#[from] OpenError),
}

/// Takes the bytes of a snapshot and writes them to a temporary file, on a task of the disk. A file
/// that isn't finished is removed, unless its transfer may go on later.
#[derive(Debug)]
pub struct Spool {
    chunks: mpsc::Sender<Bytes>,
    progress: Progress,
    result: oneshot::Receiver<Result<SnapshotFile, SpoolError>>,
}

/// The snapshot that a spool takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    /// The marks of the whole file.
    pub(super) fingerprint: Fingerprint,
    /// The offset of the first byte that comes.
    pub(super) from: u64,
    /// True if what came is kept when the transfer is interrupted.
    pub(super) resumable: bool,
}

impl Spool {
    pub(super) fn start(place: Arc<Place>, announced: Announced, turn: Turn, judge: Judge) -> Self {
        let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
        let (done, result) = oneshot::channel();
        let (disk, progress) = (Arc::clone(&place.disk), Progress::default());
        let receiver = Receiver { place, announced, received, progress: progress.clone(), judge };
        let task = async move {
            let Turn { left, interrupted } = turn;
            let mut left = left.lock().await;
            let written = receiver.receive(&mut left, interrupted).await;
            drop(left);
            let _ = done.send(written);
        };
        disk.spawn("snapshot-receive", Box::pin(task));
        Self { chunks, progress, result }
    }

    /// Returns the snapshot's progress: the bytes that are durable, and those that were read to check
    /// it and to install it.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Adds bytes; waits while the disk is behind.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        if self.chunks.send(chunk).await.is_ok() {
            return Ok(());
        }
        match (&mut self.result).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(ended().into()),
        }
    }

    /// Returns the received snapshot, after every byte of it was checked. It goes away with its last
    /// handle unless [`SnapshotDir::keep`](super::SnapshotDir::keep) keeps it.
    pub async fn finish(self) -> Result<SnapshotFile, SpoolError> {
        drop(self.chunks);
        self.result.await.unwrap_or_else(|_| Err(ended().into()))
    }
}

fn ended() -> io::Error {
    io::Error::other("the task that writes the snapshot ended")
}

/// The receiving task.
struct Receiver {
    place: Arc<Place>,
    announced: Announced,
    received: mpsc::Receiver<Bytes>,
    progress: Progress,
    judge: Judge,
}

impl Receiver {
    async fn receive(
        mut self,
        left: &mut Option<Left>,
        interrupted: oneshot::Receiver<()>,
    ) -> Result<SnapshotFile, SpoolError> {
        let (path, mut file) = self.open(left)?;
        let received = match self.fill(&mut file, interrupted).await {
            Ok(()) => self.check(file, &path).await,
            Err(error) => Err(error),
        };
        let Announced { fingerprint, resumable, .. } = self.announced;
        match &received {
            Ok(_) => {}
            Err(SpoolError::Length { announced, received }) if resumable && received < announced => {
                *left = Some(Left { fingerprint, path, length: Some(*received) });
            }
            Err(_) => _ = self.place.disk.remove(&path),
        }
        received
    }

    /// Opens what is left of the snapshot, if the transfer goes on there, or else a new file.
    fn open(&self, left: &mut Option<Left>) -> Result<(PathBuf, Growing), SpoolError> {
        let Announced { fingerprint, from, .. } = self.announced;
        let goes_on = |left: &Left| left.fingerprint == fingerprint && left.length.is_some_and(|l| from <= l);
        if from > 0 {
            let Left { path, .. } =
                left.take_if(|left| goes_on(left)).ok_or(SpoolError::NothingLeft(from))?;
            let file = Growing::from(self.place.disk.open(&path)?, from, self.progress.clone());
            return Ok((path, file));
        }
        if let Some(other) = left.take() {
            let _ = self.place.disk.remove(&other.path);
        }
        let (path, file) = receiving::create(&self.place, &fingerprint)?;
        Ok((path, Growing::from(file, 0, self.progress.clone())))
    }

    /// Adds all bytes that come, until they end or somebody else wants to receive.
    async fn fill(
        &mut self,
        file: &mut Growing,
        mut interrupted: oneshot::Receiver<()>,
    ) -> Result<(), SpoolError> {
        let announced = self.announced.fingerprint.length;
        loop {
            let chunk = tokio::select! {
                chunk = self.received.recv() => chunk,
                _ = &mut interrupted => None,
            };
            let Some(chunk) = chunk else { break };
            let received = file.length() + chunk.len() as u64;
            if received > announced {
                return Err(SpoolError::Length { announced, received });
            }
            file.append(&chunk).await?;
        }
        let received = file.length();
        if received == announced { Ok(()) } else { Err(SpoolError::Length { announced, received }) }
    }

    /// Makes the file durable, and reads every byte of it. What it says is judged, too: it takes the place
    /// of the state before anybody could refuse it later.
    async fn check(&mut self, file: Growing, path: &Path) -> Result<SnapshotFile, SpoolError> {
        file.finish().await?;
        let snapshot = SnapshotFile::open(&self.place.disk, path, self.progress.clone())?;
        snapshot.set_temporary();
        snapshot.read(|item| (self.judge)(Some(item)))?;
        let (file, offset) = (path.to_owned(), snapshot.length());
        (self.judge)(None).map_err(|reason| OpenError::Damaged { file, offset, reason })?;
        Ok(snapshot)
    }
}
