//! openraft's log storage over [`skv_log`].

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use bytes::Bytes;
use futures::stream::{self, Stream, TryStreamExt as _};
use openraft::entry::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::vote::RaftLeaderId as _;
use openraft::{LogState, OptionalSend, RaftLogReader};
use prost::Message as _;
use skv_log::{Entry, Log, LogReader};
use skv_proto::v1;
use skv_sharding::ReplicaId;

use crate::types::{EncodedEntry, LeaderId, LogEntry, LogId, Membership, TypeConfig, Vote};
use crate::wire::Wire as _;

/// The number of bytes that are read at once: as many as one message to a follower carries.
const READ_BYTES: usize = 1 << 20;

/// The kind of an entry's payload.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Kind {
    Blank = 0,
    Normal = 1,
    Membership = 2,
}

/// A group's log, as openraft wants it.
#[derive(Debug)]
pub struct LogStore(Log);

impl LogStore {
    /// Makes openraft's view of a log.
    pub fn new(log: Log) -> Self {
        LogStore(log)
    }
}

/// Reads a group's log.
#[derive(Debug, Clone)]
pub struct LogStoreReader(LogReader);

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStoreReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let (purged, last) = (self.0.purged(), self.0.last());
        Ok(LogState { last_purged_log_id: purged.map(from_id), last_log_id: last.map(from_id) })
    }

    async fn get_log_reader(&mut self) -> LogStoreReader {
        LogStoreReader(self.0.reader())
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let Vote { leader_id, committed } = *vote;
        let vote = skv_log::Vote { term: leader_id.term, candidate: leader_id.node_id.0, committed };
        self.0.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.save_committed(committed.map(to_id))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.committed().map(from_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(to_entry).collect();
        self.0.append(entries, Box::new(|result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last_log_id.map(|id| id.index)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.0.purge(to_id(log_id))
    }
}

impl RaftLogReader<TypeConfig> for LogStoreReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<LogEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let entries = self.0.read(half_open(&range), usize::MAX).await?;
        entries.into_iter().map(from_entry).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = |v: skv_log::Vote| Vote {
            leader_id: LeaderId::new(v.term, ReplicaId(v.candidate)),
            committed: v.committed,
        };
        Ok(self.0.vote().map(vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        let entries = self.0.read(start..end, READ_BYTES).await?;
        entries.into_iter().map(from_entry).collect()
    }

    /// Reads piece by piece, so that applying a long backlog doesn't hold all of it in memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<LogEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reader = self.0.clone();
        let pieces = stream::try_unfold(half_open(&range), move |rest| {
            let reader = reader.clone();
            async move {
                let entries = reader.read(rest.clone(), READ_BYTES).await?;
                let next = entries.last().map(|last| last.id.index + 1..rest.end);
                Ok::<_, io::Error>(next.map(|next| (stream::iter(entries.into_iter().map(from_entry)), next)))
            }
        });
        Box::pin(pieces.try_flatten())
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn to_id(id: LogId) -> skv_log::LogId {
    skv_log::LogId { term: id.leader_id.term, leader: id.leader_id.node_id.0, index: id.index }
}

fn from_id(id: skv_log::LogId) -> LogId {
    LogId { leader_id: LeaderId::new(id.term, ReplicaId(id.leader)), index: id.index }
}

fn to_entry(entry: LogEntry) -> Entry {
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (Kind::Blank, Bytes::new()),
        EntryPayload::Normal(EncodedEntry(bytes)) => (Kind::Normal, bytes),
        EntryPayload::Membership(m) => (Kind::Membership, m.to_wire().encode_to_vec().into()),
    };
    Entry { id: to_id(entry.log_id), kind: kind as u8, payload }
}

fn from_entry(entry: Entry) -> io::Result<LogEntry> {
    let unreadable = |reason: String| {
        let message = format!("entry {} of the log can't be read: {reason}", entry.id.index);
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let payload = match entry.kind {
        kind if kind == Kind::Blank as u8 => EntryPayload::Blank,
        kind if kind == Kind::Normal as u8 => EntryPayload::Normal(EncodedEntry(entry.payload)),
        kind if kind == Kind::Membership as u8 => {
            let wire = v1::Membership::decode(entry.payload).map_err(|e| unreadable(e.to_string()))?;
            EntryPayload::Membership(Membership::from_wire(wire).map_err(|e| unreadable(e.to_string()))?)
        }
        kind => return Err(unreadable(format!("its kind is {kind}; use a version that knows it"))),
    };
    Ok(LogEntry { log_id: from_id(entry.id), payload })
}
