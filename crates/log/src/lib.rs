//! The write-ahead log: entries in segments of fixed length, and the vote beside them.
//!
//! It knows Raft's words but not its rules, and not the content of entries. One task writes
//! ([`writer`]), one makes room ([`housekeeper`]), one reads what is no longer in memory
//! ([`reader`]). Damage is never taken for an unfinished write: [`scan`] has the reason.

mod batch;
mod entry;
mod error;
mod gate;
mod housekeeper;
mod index;
mod reader;
mod record;
mod recovery;
mod scan;
mod sector;
mod segment;
mod space;
mod start;
mod vote;
mod writer;
mod written;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_disk::Disk;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::DropGuard;

use crate::batch::Batch;
use crate::error::Failure;
use crate::gate::Gate;
use crate::index::Index;
use crate::record::{Position, Record};
use crate::recovery::recover;
use crate::sector::SECTOR;
use crate::segment::{FEWEST_SECTORS, Segment};
use crate::vote::VoteFile;
use crate::writer::Op;
pub use entry::{Entry, LogId, Vote};
pub use error::{Damage, OpenError};
pub use reader::LogReader;
pub use recovery::TornBatch;
pub use space::{Reservation, Space, SpaceError, together};
pub use writer::Callback;
pub use written::{OnWritten, Written};

/// The settings of a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The length of a segment in bytes. It is fixed when the log is made.
    pub segment_bytes: u32,
    /// The bytes of the newest entries that stay in memory.
    pub cache_bytes: usize,
    /// Is told of each batch that was written.
    pub on_written: OnWritten,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 16 << 20, cache_bytes: 16 << 20, on_written: OnWritten::default() }
    }
}

/// The facts that opening a log brought to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The replica for which the log was made.
    pub replica: u64,
    /// A batch that was dropped because it was never acknowledged.
    pub torn: Option<TornBatch>,
}

/// An open log. Clones share it; when the last one is dropped, what is queued is written
/// and its tasks end.
#[derive(Debug, Clone)]
pub struct Log {
    ops: mpsc::UnboundedSender<Op>,
    reader: LogReader,
    finished: Finished,
    _close: Arc<DropGuard>,
}

/// The data that the log's handles and tasks share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    space: Space,
    failure: Failure,
}

/// The log as it will be when all that is queued is written; the vote as it is saved.
#[derive(Debug)]
struct State {
    index: Index,
    segments: BTreeMap<u32, Arc<Segment>>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Shared {
    fn fail(&self, error: &io::Error) {
        self.failure.set(error);
        self.space.wake();
    }
}

/// The end of the tasks that write a log's files.
#[derive(Debug, Clone)]
pub struct Finished {
    tasks: Arc<watch::Sender<()>>,
    gate: Arc<Gate>,
}

impl Finished {
    /// Waits until the tasks have ended. Drop the log's handles first.
    pub async fn wait(&self) {
        self.tasks.closed().await;
    }

    /// Has the tasks touch nothing by its name any more, also if they don't end: the directory may be
    /// renamed when this returns, and get a successor.
    pub async fn close(&self) -> io::Result<()> {
        let gate = self.gate.clone();
        skv_disk::run(&**self.gate.disk(), "log-close", async move { gate.close() }).await
    }
}

impl Log {
    /// Makes an empty log in a directory. Its own directory is synced, the parents aren't: build it
    /// under a temporary name, sync, and rename, so that either the whole log is there or nothing.
    /// Then any missing file is damage.
    pub async fn format(disk: &Arc<dyn Disk>, dir: &Path, replica: u64, options: &Options) -> io::Result<()> {
        let sectors = options.segment_bytes / SECTOR as u32;
        if sectors < FEWEST_SECTORS {
            let least = FEWEST_SECTORS as usize * SECTOR;
            let message =
                format!("segments of {} bytes are too short: at least {least}", options.segment_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (disk, dir) = (disk.clone(), dir.to_owned());
        skv_disk::run(&*disk.clone(), "log-format", async move {
            disk.create_dir_all(&dir)?;
            VoteFile::create(&*disk, &dir, replica).await?;
            let segment = Segment::create(&*disk, &dir, replica, 1, sectors, |_| true).await?;
            let mut batch = Batch::new();
            batch.push(&Record::Position(Position::default()));
            segment.file.write_all_at(batch.seal(segment.salt, 1, 1), SECTOR as u64)?;
            segment.file.sync().await?;
            disk.sync_dir(&dir)
        })
        .await?
    }

    /// Opens the log in a directory, after reading all of it.
    pub async fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
    ) -> Result<(Log, Recovered), OpenError> {
        let (cache_bytes, on_written) = (options.cache_bytes, options.on_written.clone());
        let (opened, log) = oneshot::channel();
        let task = {
            let (disk, dir) = (disk.clone(), dir.to_owned());
            async move {
                match recover(&*disk, &dir, cache_bytes).await {
                    Err(error) => drop(opened.send(Err(error))),
                    Ok(recovery) => start::start(disk, &dir, recovery, on_written, opened).await,
                }
            }
        };
        disk.spawn("log-write", Box::pin(task));
        log.await.map_err(|_| OpenError::io(dir)(io::Error::other("the log's task didn't start")))?
    }

    /// Returns a handle that reads.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Returns the log's room.
    pub fn space(&self) -> Space {
        self.shared().space.clone()
    }

    /// Returns a way to wait until the log's files are at rest.
    pub fn finished(&self) -> Finished {
        self.finished.clone()
    }

    fn shared(&self) -> &Shared {
        &self.reader.shared
    }

    /// Returns the last entry that was purged.
    pub fn purged(&self) -> Option<LogId> {
        self.shared().state.lock().index.purged()
    }

    /// Returns the last entry; the last purged one if none is left.
    pub fn last(&self) -> Option<LogId> {
        self.shared().state.lock().index.last()
    }

    /// Returns the last vote that was saved.
    pub fn vote(&self) -> Option<Vote> {
        self.reader.vote()
    }

    /// Returns the last commit that was noted.
    pub fn committed(&self) -> Option<LogId> {
        self.shared().state.lock().committed
    }

    /// Adds entries, which are readable when this returns. `done` is called when they are
    /// durable; then all that was asked for before is durable too, though its callbacks
    /// may follow later.
    pub fn append(&self, entries: Vec<Entry>, done: Callback) -> io::Result<()> {
        self.shared().failure.check()?;
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let max = self.shared().space.max_entry_bytes();
        if let Some(entry) = entries.iter().find(|e| e.payload.len() > max) {
            return Err(invalid(SpaceError::TooLarge { bytes: entry.payload.len(), max }.to_string()));
        }
        let mut state = self.shared().state.lock();
        for entry in &entries {
            state.index.append(entry).map_err(|gap| invalid(gap.to_string()))?;
        }
        self.shared().space.note_queued();
        self.send(Op::Append { entries, generation: state.index.generation(), done })
    }

    /// Drops the entries after an index, or all of them. They are durably gone when this returns: the
    /// snapshot that is installed next may contradict them.
    pub async fn truncate_after(&self, index: Option<u64>) -> io::Result<()> {
        self.shared().failure.check()?;
        let (done, dropped) = oneshot::channel();
        {
            let mut state = self.shared().state.lock();
            let from = index.map_or(0, |index| index + 1).max(state.index.range().start);
            if from >= state.index.range().end {
                return Ok(());
            }
            state.index.truncate_from(from);
            let done = Box::new(|result| drop(done.send(result)));
            self.send(Op::TruncateFrom { index: from, last: state.index.last(), done })?;
        }
        dropped.await.map_err(|_| closed())?
    }

    /// Gives up the entries up to one, which may lie beyond the last.
    pub fn purge(&self, upto: LogId) -> io::Result<()> {
        self.shared().failure.check()?;
        let mut state = self.shared().state.lock();
        if state.index.purged().is_some_and(|purged| purged.index >= upto.index) {
            return Ok(());
        }
        state.index.purge(upto);
        self.send(Op::Purge(upto))
    }

    /// Notes the last commit. It becomes durable some time later.
    pub fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        self.shared().failure.check()?;
        self.shared().state.lock().committed = committed;
        Ok(())
    }

    /// Saves a vote. It is durable when this returns, and so is all that was asked for before.
    pub async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.shared().failure.check()?;
        let (done, saved) = oneshot::channel();
        self.send(Op::Vote { vote, done: Box::new(|result| drop(done.send(result))) })?;
        saved.await.map_err(|_| closed())?
    }

    fn send(&self, op: Op) -> io::Result<()> {
        self.ops.send(op).map_err(|_| closed())
    }
}

fn closed() -> io::Error {
    io::Error::other("the log's task has ended")
}
