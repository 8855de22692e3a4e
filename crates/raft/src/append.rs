//! Append requests and their results: as messages, and as openraft takes them.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use skv_proto::v1;
use skv_proto::v1::append_entries_request::Append;
use skv_proto::v1::append_entries_response::{Matched, Result as Outcome};

use super::types::{LogEntry, LogId, TypeConfig, Vote};
use super::wire::{Wire, WireError};
use crate::engine::{Raft, Stopped};

/// Returns an append request as a message.
pub(crate) fn to_wire(request: &AppendEntriesRequest<TypeConfig>) -> Append {
    Append {
        vote: Some(request.vote.to_wire()),
        prev: request.prev_log_id.as_ref().map(Wire::to_wire),
        entries: request.entries.iter().map(Wire::to_wire).collect(),
        leader_commit: request.leader_commit.as_ref().map(Wire::to_wire),
    }
}

/// Returns the append request of a message.
pub fn from_wire(append: Append) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let missing = WireError::Missing { message: "append request", field: "vote" };
    Ok(AppendEntriesRequest {
        vote: Vote::from_wire(append.vote.ok_or(missing)?)?,
        prev_log_id: append.prev.map(LogId::from_wire).transpose()?,
        entries: append.entries.into_iter().map(LogEntry::from_wire).collect::<Result<_, _>>()?,
        leader_commit: append.leader_commit.map(LogId::from_wire).transpose()?,
    })
}

/// Returns the result of one append request as a message.
fn result_to_wire(result: &StreamAppendResult<TypeConfig>) -> Outcome {
    match result {
        Ok(matched) => Outcome::Matched(Matched { log_id: matched.as_ref().map(Wire::to_wire) }),
        Err(StreamAppendError::Conflict(prev)) => Outcome::Conflict(prev.to_wire()),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote.to_wire()),
    }
}

/// Returns the result that a message carries.
pub(crate) fn result_from_wire(
    message: v1::AppendEntriesResponse,
) -> Result<StreamAppendResult<TypeConfig>, WireError> {
    match message.result {
        Some(Outcome::Matched(matched)) => Ok(Ok(matched.log_id.map(LogId::from_wire).transpose()?)),
        Some(Outcome::Conflict(prev)) => Ok(Err(StreamAppendError::Conflict(LogId::from_wire(prev)?))),
        Some(Outcome::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(Vote::from_wire(vote)?))),
        Some(Outcome::Accepted(_)) | None => {
            Err(WireError::Missing { message: "append response", field: "result" })
        }
    }
}

/// Returns the content of an entry that is applied to the state.
pub fn payload(entry: &LogEntry) -> Option<&Bytes> {
    match &entry.payload {
        EntryPayload::Normal(entry) => Some(&entry.0),
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    }
}

/// Returns the bytes for which entries need room in the log. Entries of elections and of changes of
/// members have a reserve of their own there, or no leader could begin while disks are full.
pub fn log_bytes(entries: &[LogEntry]) -> usize {
    skv_log::together(entries.iter().filter_map(payload).map(Bytes::len))
}

/// The result of one append request.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// The result as a message.
    pub result: Outcome,
    /// True if the request came from the leader that this replica follows.
    pub from_leader: bool,
}

/// Feeds requests to openraft, pipelined.
pub(crate) fn appended<S>(
    raft: Raft,
    requests: S,
) -> impl Stream<Item = Result<Appended, Stopped>> + Send + use<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static,
{
    let results = stream::once(async move { raft.stream_append(requests).boxed() }).flatten();
    results.map(|result| {
        let result = result?;
        let from_leader = !matches!(result, Err(StreamAppendError::HigherVote(_)));
        Ok(Appended { result: result_to_wire(&result), from_leader })
    })
}
