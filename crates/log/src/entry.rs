//! The log's content: entries whose payload it doesn't look into, and the vote.

use bytes::Bytes;

/// A position in the log, and the leader that filled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogId {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub leader: u64,
    /// The entry's index, which counts without gaps.
    pub index: u64,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub id: LogId,
    /// The kind of the payload: the writer's own number.
    pub kind: u8,
    /// The payload.
    pub payload: Bytes,
}

/// The last vote of this replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The term of the election.
    pub term: u64,
    /// The candidate.
    pub candidate: u64,
    /// True if a majority voted alike.
    pub committed: bool,
}
