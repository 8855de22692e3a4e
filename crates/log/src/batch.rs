//! A batch: the records of one group commit, laid out in whole sectors.
//!
//! Its payload begins with a header of 8 bytes, the payload's length and the number of
//! records, and runs through the payloads of its sectors; the last one is filled up with
//! zeros. No two batches share a sector, so writing one can't tear another.

use crate::entry::Entry;
use crate::record::Record;
use crate::sector::{self, HEADER, PAYLOAD, SECTOR};

/// The length of the header that precedes the records.
pub(super) const BATCH_HEADER: usize = 8;

/// Returns the number of sectors that a payload of this length fills.
pub(super) const fn sectors_for(payload: usize) -> u32 {
    payload.div_ceil(PAYLOAD) as u32
}

/// A batch that is being made. Its memory is used again for the next one.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    /// The length of the payload.
    len: usize,
    records: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Batch { bytes: Vec::new(), scratch: Vec::new(), len: 0, records: 0 };
        batch.clear();
        batch
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.len = 0;
        self.records = 0;
        self.put(&[0; BATCH_HEADER]);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns the length of the payload so far, header included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a record, and returns the offset in the payload at which it begins.
    pub(super) fn push(&mut self, record: &Record) -> usize {
        let at = self.len;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        record.encode(&mut scratch);
        self.put(&scratch);
        self.scratch = scratch;
        self.records += 1;
        at
    }

    /// Adds an entry, and returns the offset in the payload at which it begins.
    pub(super) fn push_entry(&mut self, entry: &Entry) -> usize {
        let at = self.push(&Record::of_entry(entry));
        self.put(&entry.payload);
        at
    }

    fn put(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let filled = self.bytes.len() % SECTOR;
            if filled == 0 {
                self.bytes.extend_from_slice(&[0; HEADER]);
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(SECTOR - filled));
            self.bytes.extend_from_slice(part);
            bytes = rest;
        }
    }

    /// Completes the batch for its place in a segment. Returns the bytes to be written there.
    pub(super) fn seal(&mut self, salt: u64, first_sector: u32, number: u32) -> &[u8] {
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR), 0);
        self.bytes[HEADER..HEADER + 4].copy_from_slice(&(self.len as u32).to_le_bytes());
        self.bytes[HEADER + 4..HEADER + 8].copy_from_slice(&self.records.to_le_bytes());
        for (i, bytes) in self.bytes.chunks_exact_mut(SECTOR).enumerate() {
            sector::seal(bytes, salt, first_sector + i as u32, number, i == 0);
        }
        &self.bytes
    }
}

/// Reads the header of a batch from the payload of its first sector.
pub(super) fn read_header(payload: &[u8]) -> (usize, u32) {
    let number =
        |at: usize| u32::from_le_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
    (number(0) as usize, number(4))
}
