//! A snapshot on its way in from the leader.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use skv_disk::Disk;
use tokio::sync::{mpsc, oneshot};

use crate::file::{OpenError, SnapshotFile};
use crate::growing::Growing;
use crate::progress::Progress;

/// The number of chunks that wait to be written.
const CHUNKS_AHEAD: usize = 2;

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
    /// The received snapshot can't be read.
    #[error("the received snapshot is wrong: {0}")]
    Wrong(#[from] OpenError),
}

/// Takes the bytes of a snapshot and writes them to a temporary file, on a task of the disk. A file
/// that isn't finished is removed.
#[derive(Debug)]
pub struct Spool {
    chunks: mpsc::Sender<Bytes>,
    progress: Progress,
    result: oneshot::Receiver<Result<SnapshotFile, SpoolError>>,
}

impl Spool {
    pub(super) fn start(disk: &Arc<dyn Disk>, path: PathBuf, announced: u64) -> Self {
        let (chunks, mut received) = mpsc::channel(CHUNKS_AHEAD);
        let (done, result) = oneshot::channel();
        let progress = Progress::default();
        let task = {
            let (disk, progress) = (Arc::clone(disk), progress.clone());
            async move {
                let written = write(&disk, &path, announced, &mut received, progress).await;
                if written.is_err() {
                    let _ = disk.remove(&path);
                }
                received.close();
                let _ = done.send(written);
            }
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

async fn write(
    disk: &Arc<dyn Disk>,
    path: &std::path::Path,
    announced: u64,
    chunks: &mut mpsc::Receiver<Bytes>,
    progress: Progress,
) -> Result<SnapshotFile, SpoolError> {
    let mut file = Growing::create(&**disk, path, progress.clone())?;
    while let Some(chunk) = chunks.recv().await {
        let received = file.length() + chunk.len() as u64;
        if received > announced {
            return Err(SpoolError::Length { announced, received });
        }
        file.append(&chunk).await?;
    }
    if file.length() != announced {
        return Err(SpoolError::Length { announced, received: file.length() });
    }
    file.finish().await?;
    let snapshot = SnapshotFile::open(disk, path, progress)?;
    snapshot.set_temporary();
    snapshot.read(|_| Ok(()))?;
    Ok(snapshot)
}
