//! The records that batches consist of.

use bytes::{Buf as _, BufMut as _, TryGetError};

use crate::entry::{Entry, LogId};

/// A state of the log: enough to begin reading it here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The last entry that was purged.
    pub(super) purged: Option<LogId>,
    /// The last entry; the last purged one if none is left.
    pub(super) last: Option<LogId>,
    /// The last entry that is known as committed.
    pub(super) committed: Option<LogId>,
}

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// An entry; its payload follows.
    Entry { id: LogId, kind: u8, len: u32 },
    /// All entries from this index on are void.
    TruncateFrom(u64),
    /// Entries up to this one are no longer needed.
    Purge(LogId),
    /// Entries up to this one are committed.
    Committed(LogId),
    /// Opens a segment.
    Position(Position),
    /// Ends a segment; the next one has this salt.
    Seal { next_salt: u64 },
}

const ENTRY: u8 = 1;
const TRUNCATE_FROM: u8 = 2;
const PURGE: u8 = 3;
const COMMITTED: u8 = 4;
const POSITION: u8 = 5;
const SEAL: u8 = 6;

/// The length of the header that precedes an entry's payload.
pub(super) const ENTRY_HEADER: usize = 1 + 1 + 4 + 24;
/// The longest record without a payload.
pub(super) const LONGEST: usize = 1 + 3 * 25;
/// The length of [`Record::Committed`].
pub(super) const COMMITTED_LEN: usize = 1 + 24;

impl Record {
    pub(super) fn of_entry(entry: &Entry) -> Record {
        Record::Entry { id: entry.id, kind: entry.kind, len: entry.payload.len() as u32 }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Record::Entry { id, kind, len } => {
                out.put_u8(ENTRY);
                out.put_u8(kind);
                out.put_u32_le(len);
                put_id(out, id);
            }
            Record::TruncateFrom(index) => {
                out.put_u8(TRUNCATE_FROM);
                out.put_u64_le(index);
            }
            Record::Purge(id) => {
                out.put_u8(PURGE);
                put_id(out, id);
            }
            Record::Committed(id) => {
                out.put_u8(COMMITTED);
                put_id(out, id);
            }
            Record::Position(Position { purged, last, committed }) => {
                out.put_u8(POSITION);
                for id in [purged, last, committed] {
                    out.put_u8(id.is_some().into());
                    put_id(out, id.unwrap_or(LogId { term: 0, leader: 0, index: 0 }));
                }
            }
            Record::Seal { next_salt } => {
                out.put_u8(SEAL);
                out.put_u64_le(next_salt);
            }
        }
    }

    /// Reads the next record; of an entry all but the payload. `None` if the bytes are no record.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Record> {
        match bytes.try_get_u8().ok()? {
            ENTRY => {
                let kind = bytes.try_get_u8().ok()?;
                let len = bytes.try_get_u32_le().ok()?;
                Some(Record::Entry { id: get_id(bytes).ok()?, kind, len })
            }
            TRUNCATE_FROM => bytes.try_get_u64_le().ok().map(Record::TruncateFrom),
            PURGE => get_id(bytes).ok().map(Record::Purge),
            COMMITTED => get_id(bytes).ok().map(Record::Committed),
            POSITION => {
                let mut id = || {
                    let known = bytes.try_get_u8().ok()? != 0;
                    get_id(bytes).ok().map(|id| known.then_some(id))
                };
                Some(Record::Position(Position { purged: id()?, last: id()?, committed: id()? }))
            }
            SEAL => bytes.try_get_u64_le().ok().map(|next_salt| Record::Seal { next_salt }),
            _ => None,
        }
    }
}

fn put_id(out: &mut Vec<u8>, id: LogId) {
    out.put_u64_le(id.term);
    out.put_u64_le(id.leader);
    out.put_u64_le(id.index);
}

fn get_id(bytes: &mut &[u8]) -> Result<LogId, TryGetError> {
    Ok(LogId {
        term: bytes.try_get_u64_le()?,
        leader: bytes.try_get_u64_le()?,
        index: bytes.try_get_u64_le()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written_and_never_in_part() {
        let id = LogId { term: 1, leader: 2, index: 3 };
        let records = [
            Record::Entry { id, kind: 4, len: 5 },
            Record::TruncateFrom(6),
            Record::Purge(id),
            Record::Committed(id),
            Record::Position(Position { purged: None, last: Some(id), committed: Some(id) }),
            Record::Seal { next_salt: 7 },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert!(bytes.len() <= LONGEST);
            let mut rest = bytes.as_slice();
            assert_eq!(Record::decode(&mut rest), Some(record));
            assert!(rest.is_empty());
            for len in 0..bytes.len() {
                assert_eq!(Record::decode(&mut &bytes[..len]), None, "{record:?} cut to {len}");
            }
        }
        assert_eq!(Record::decode(&mut [99; 100].as_slice()), None);
    }
}
