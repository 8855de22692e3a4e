//! The one task that writes the log: takes what is queued, writes it as one batch, syncs once, and
//! calls all who wait.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Shared;
use crate::batch::{Batch, sectors_for};
use crate::entry::{Entry, LogId, Vote};
use crate::housekeeper::Chore;
use crate::record::{COMMITTED_LEN, ENTRY_HEADER, LONGEST, Position, Record};
use crate::sector::{PAYLOAD, SECTOR};
use crate::segment::{Active, Older, Place};
use crate::vote::VoteFile;
use crate::written::{OnWritten, Written};

/// Called when something is durable, or can't be made so.
pub type Callback = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The size in bytes at which a batch is written before more is added: it bounds the writer's memory,
/// and the time for which the first of many waits.
const BATCH_BYTES: usize = 1 << 20;

/// The number of operations that are taken from the queue at once.
const QUEUE: usize = 4096;

/// A task for the writer; tasks are done in their order.
pub(super) enum Op {
    Append {
        entries: Vec<Entry>,
        generation: u32,
        done: Callback,
    },
    /// Void the entries from an index on; `last` is then the last entry.
    TruncateFrom {
        index: u64,
        last: Option<LogId>,
        done: Callback,
    },
    Purge(LogId),
    Vote {
        vote: Vote,
        done: Callback,
    },
}

/// The writer's own view of the log: what is written, not what is queued.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) vote_file: VoteFile,
    /// The segments before the active one, oldest first.
    pub(super) older: VecDeque<Older>,
    pub(super) active: Active,
    pub(super) position: Position,
    pub(super) chores: mpsc::UnboundedSender<Chore>,
    pub(super) batch: Batch,
    /// The entries in the batch: index, generation, offset in the batch.
    pub(super) placed: Vec<(u64, u32, usize)>,
    /// The callbacks that wait for the batch, oldest first.
    pub(super) waiting: Vec<Callback>,
    /// The number of appends that were added to a batch.
    pub(super) appends: u64,
    pub(super) on_written: OnWritten,
}

impl Writer {
    /// Writes until the log is dropped or fails.
    pub(super) async fn run(mut self, mut ops: mpsc::UnboundedReceiver<Op>) {
        let mut queue = Vec::with_capacity(QUEUE);
        let mut failed = None;
        while ops.recv_many(&mut queue, QUEUE).await > 0 {
            let mut queued = queue.drain(..);
            if failed.is_none()
                && let Err(error) = self.write(&mut queued).await
            {
                self.shared.fail(&error);
                failed = Some(error);
            }
            if let Some(error) = &failed {
                let refused = queued.filter_map(|op| match op {
                    Op::Append { done, .. } | Op::TruncateFrom { done, .. } | Op::Vote { done, .. } => {
                        Some(done)
                    }
                    Op::Purge(_) => None,
                });
                for done in self.waiting.drain(..).chain(refused) {
                    done(Err(io::Error::new(error.kind(), error.to_string())));
                }
            }
        }
        if failed.is_none()
            && let Err(error) = self.write_committed().await
        {
            tracing::warn!(%error, "the last commit wasn't noted; the group knows it");
        }
    }

    async fn write(&mut self, queue: &mut impl Iterator<Item = Op>) -> io::Result<()> {
        self.shared.failure.check()?;
        for op in queue {
            match op {
                Op::Append { entries, generation, done } => {
                    let added = self.add_entries(&entries, generation).await;
                    self.waiting.push(done);
                    added?;
                    self.appends += 1;
                }
                Op::TruncateFrom { index, last, done } => {
                    let added = self.add(&Record::TruncateFrom(index)).await;
                    self.waiting.push(done);
                    added?;
                    self.position.last = last;
                }
                Op::Purge(id) => {
                    self.add(&Record::Purge(id)).await?;
                    self.position.purged = Some(id);
                    if self.position.last.is_none_or(|last| last.index <= id.index) {
                        self.position.last = Some(id);
                    }
                }
                Op::Vote { vote, done } => {
                    let flushed = self.flush().await;
                    let saved = match flushed {
                        Ok(()) => self.vote_file.save(vote).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = saved {
                        self.waiting.push(done);
                        return Err(error);
                    }
                    self.shared.state.lock().vote = Some(vote);
                    done(Ok(()));
                }
            }
        }
        self.flush().await
    }

    async fn add_entries(&mut self, entries: &[Entry], generation: u32) -> io::Result<()> {
        for entry in entries {
            self.make_room(ENTRY_HEADER + entry.payload.len()).await?;
            let offset = self.batch.push_entry(entry);
            self.placed.push((entry.id.index, generation, offset));
            self.position.last = Some(entry.id);
        }
        Ok(())
    }

    async fn add(&mut self, record: &Record) -> io::Result<()> {
        self.make_room(LONGEST).await?;
        self.batch.push(record);
        Ok(())
    }

    /// Makes sure that a record fits into the batch, and the batch into the segment.
    async fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        loop {
            if !self.batch.is_empty() && self.batch.len() > BATCH_BYTES {
                self.flush().await?;
            }
            let opening = if self.active.next_batch == 1 { LONGEST } else { 0 };
            if sectors_for(self.batch.len() + opening + bytes) <= self.active.room() {
                self.open_batch();
                return Ok(());
            }
            if self.batch.is_empty() {
                self.next_segment().await?;
            } else {
                self.flush().await?;
            }
        }
    }

    /// Begins a segment's first batch with the log's position, so that reading may begin there.
    fn open_batch(&mut self) {
        if self.active.next_batch == 1 && self.batch.is_empty() {
            self.batch.push(&Record::Position(self.position));
        }
    }

    /// Ends the active segment. The next one is durable before, so a missing one is noticed.
    async fn next_segment(&mut self) -> io::Result<()> {
        let next = self.shared.space.take_prepared().await?;
        self.open_batch();
        self.batch.push(&Record::Seal { next_salt: next.salt });
        self.write_batch().await?;

        let _ = self.chores.send(Chore::Prepare(next.number + 1));
        self.shared.state.lock().segments.insert(next.number, next.clone());
        let next = Active { segment: next, highest: None, next_sector: 1, next_batch: 1 };
        let Active { segment, highest, .. } = std::mem::replace(&mut self.active, next);
        self.older.push_back(Older { segment, highest });
        Ok(())
    }

    /// Makes durable what was added, and calls those who wait for it.
    async fn flush(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.add_committed();
            self.write_batch().await?;
            self.shared.space.set_active(self.active.room());
            self.settle();
        }
        self.shared.space.set_written(self.appends);
        // Newest first: a caller that sees the newest knows of all before it, and needs no second
        // look.
        for done in self.waiting.drain(..).rev() {
            done(Ok(()));
        }
        Ok(())
    }

    async fn write_batch(&mut self) -> io::Result<()> {
        let segment = &self.active.segment;
        let bytes = self.batch.seal(segment.salt, self.active.next_sector, self.active.next_batch);
        let offset = u64::from(self.active.next_sector) * SECTOR as u64;
        let (bytes_written, began) = (bytes.len(), Instant::now());
        segment.file.write_all_at(bytes, offset)?;
        segment.file.sync().await?;
        self.on_written.tell(Written { bytes: bytes_written, time: began.elapsed() });

        let start = self.active.next_sector * PAYLOAD as u32;
        self.active.next_sector += sectors_for(self.batch.len());
        self.active.next_batch += 1;
        self.batch.clear();
        if !self.placed.is_empty() {
            let segment = segment.number;
            let mut state = self.shared.state.lock();
            for &(index, generation, offset) in &self.placed {
                state.index.set_place(index, generation, Place { segment, offset: start + offset as u32 });
            }
            state.index.trim_cache();
        }
        let highest = self.placed.drain(..).map(|(index, ..)| index).max();
        self.active.highest = self.active.highest.max(highest);
        Ok(())
    }

    /// Has the segments removed that are purged now. The purge is durable, and the active segment
    /// holds the position at which it begins.
    fn settle(&mut self) {
        let purged = self.position.purged.map(|id| id.index);
        while let Some(Older { segment, .. }) = self.older.pop_front_if(|older| older.highest <= purged) {
            self.shared.state.lock().segments.remove(&segment.number);
            let _ = self.chores.send(Chore::Remove(segment.path.clone()));
        }
    }

    /// Notes the last commit where it costs nothing: in the rest of the last sector.
    fn add_committed(&mut self) {
        let left = self.batch.len().next_multiple_of(PAYLOAD) - self.batch.len();
        if left >= COMMITTED_LEN
            && let Some(committed) = self.new_commit()
        {
            self.batch.push(&Record::Committed(committed));
            self.position.committed = Some(committed);
        }
    }

    /// Returns the last commit if it isn't noted yet. A commit may be known before its entry is
    /// written, or while another entry still lies in its place.
    fn new_commit(&self) -> Option<LogId> {
        let state = self.shared.state.lock();
        let new = state.committed.filter(|_| state.committed != self.position.committed)?;
        state.index.is_durable(new).then_some(new)
    }

    async fn write_committed(&mut self) -> io::Result<()> {
        if self.new_commit().is_some() && self.active.room() > 0 {
            self.open_batch();
            self.add_committed();
            self.write_batch().await?;
        }
        Ok(())
    }
}
