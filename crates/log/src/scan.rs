//! Reading a segment back: every sector is part of a whole batch, part of a torn one, or
//! empty; anything else is damage.
//!
//! The writer begins a batch only when the one before is durable, and every sector names
//! its batch. So only the last batch can be torn, and a torn sector is still empty: a
//! sector that is neither whole nor empty, or that belongs to any other batch, was durable
//! once and has been lost.

use std::ops::Range;

use crate::batch::{self, BATCH_HEADER};
use crate::error::Damage;
use crate::record::Record;
use crate::sector::{self, PAYLOAD, SECTOR, Sector};
use crate::segment::{Place, Segment};

/// The findings in a segment.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The sector at which the next batch goes.
    pub(super) next_sector: u32,
    /// The next batch's number.
    pub(super) next_batch: u32,
    /// The sector at which the last whole batch begins.
    pub(super) last_batch: u32,
    /// The salt of the next segment, if this one has ended.
    pub(super) sealed: Option<u64>,
    /// The sectors of a torn batch.
    pub(super) torn: Option<Range<u32>>,
}

/// Reads a segment, and passes its records to `visit` in order. Sectors beyond `bytes` are empty. An error
/// of `visit` is a record that can't follow those before it.
pub(super) fn scan(
    segment: &Segment,
    bytes: &[u8],
    mut visit: impl FnMut(&Record, Place) -> Result<(), String>,
) -> Result<Scanned, Damage> {
    let scanner = Scanner { segment, bytes };
    let mut payload = Vec::new();
    let mut scanned = Scanned { next_sector: 1, next_batch: 1, last_batch: 1, sealed: None, torn: None };
    while scanned.next_sector < segment.sectors && scanned.sealed.is_none() {
        let Scanned { next_sector: at, next_batch: number, .. } = scanned;
        let Some(records) = scanner.batch(at, number, &mut payload)? else {
            break;
        };
        scanned.last_batch = at;
        scanned.next_sector += batch::sectors_for(payload.len());
        scanned.next_batch += 1;

        let mut rest = &payload[BATCH_HEADER..];
        for i in 0..records {
            let offset = payload.len() - rest.len();
            let damage = |reason: &str| segment.damage(at + (offset / PAYLOAD) as u32, reason);
            let record = Record::decode(&mut rest).ok_or_else(|| damage("an unreadable record"))?;
            if let Record::Entry { len, .. } = record {
                rest = rest.get(len as usize..).ok_or_else(|| damage("an entry ends beyond its batch"))?;
            }
            if matches!(record, Record::Position(_)) != (number == 1 && i == 0) {
                return Err(damage("a segment begins with where the log stands"));
            }
            if let Record::Seal { next_salt } = record {
                scanned.sealed = Some(next_salt);
            }
            let offset = at * PAYLOAD as u32 + offset as u32;
            visit(&record, Place { segment: segment.number, offset }).map_err(|reason| damage(&reason))?;
        }
        if !rest.is_empty() {
            return Err(segment.damage(at, "a batch has bytes beyond its records"));
        }
    }
    scanned.torn = scanner.tail(&scanned)?;
    Ok(scanned)
}

struct Scanner<'a> {
    segment: &'a Segment,
    bytes: &'a [u8],
}

impl Scanner<'_> {
    fn sector(&self, number: u32) -> Sector<'_> {
        let start = number as usize * SECTOR;
        let bytes = self.bytes.get(start..start + SECTOR);
        bytes.map_or(Sector::Empty, |bytes| sector::read(bytes, self.segment.salt, number))
    }

    /// Reads the payload of the batch at a sector, and returns the number of its records; `None` if
    /// it isn't whole.
    fn batch(&self, at: u32, number: u32, into: &mut Vec<u8>) -> Result<Option<u32>, Damage> {
        into.clear();
        let Some((sectors, len, records)) = self.header(at, number)? else {
            return Ok(None);
        };
        for sector in at..at + sectors {
            match self.sector(sector) {
                Sector::Written { batch, first, payload } if batch == number && first == (sector == at) => {
                    into.extend_from_slice(payload);
                }
                _ => return Ok(None),
            }
        }
        into.truncate(len);
        Ok(Some(records))
    }

    fn header(&self, at: u32, number: u32) -> Result<Option<(u32, usize, u32)>, Damage> {
        let Sector::Written { batch, first: true, payload } = self.sector(at) else {
            return Ok(None);
        };
        if batch != number {
            return Ok(None);
        }
        let (len, records) = batch::read_header(payload);
        let sectors = batch::sectors_for(len);
        if len < BATCH_HEADER || sectors > self.segment.sectors - at {
            return Err(self.segment.damage(at, "a batch of impossible length"));
        }
        Ok(Some((sectors, len, records)))
    }

    /// Checks the sectors behind the last whole batch: none, or one torn batch, whose sectors it
    /// returns.
    fn tail(&self, scanned: &Scanned) -> Result<Option<Range<u32>>, Damage> {
        let (at, number) = (scanned.next_sector, scanned.next_batch);
        if at == self.segment.sectors {
            return Ok(None);
        }
        let end = match self.header(at, number)? {
            Some((sectors, ..)) => at + sectors,
            None => self.segment.sectors,
        };
        let mut torn: Option<Range<u32>> = None;
        for sector in at..self.segment.sectors {
            match self.sector(sector) {
                Sector::Empty => {}
                Sector::Damaged => {
                    return Err(self.segment.damage(sector, "a sector doesn't match its checksum"));
                }
                Sector::Written { batch, first, .. } => {
                    let torn_part = scanned.sealed.is_none()
                        && batch == number
                        && first == (sector == at)
                        && sector < end;
                    if !torn_part {
                        let reason = format!("batch {batch} is here where batch {number} was expected");
                        return Err(self.segment.damage(sector, reason));
                    }
                    torn = Some(torn.map_or(sector, |t| t.start)..sector + 1);
                }
            }
        }
        Ok(torn)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::Batch;
    use crate::record::Position;
    use skv_disk::{Disk as _, MemoryDisk};

    const SECTORS: u32 = 16;

    fn segment() -> Segment {
        let path = Path::new("/1.seg");
        let file = MemoryDisk::new().create(path).unwrap();
        Segment { path: path.to_owned(), file, replica: 1, number: 1, salt: 9, sectors: SECTORS }
    }

    /// Returns a segment of batches with these numbers of sectors.
    fn written(lengths: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; SECTORS as usize * SECTOR];
        let mut at = 1;
        let mut batch = Batch::new();
        for (&length, number) in lengths.iter().zip(1..) {
            batch.clear();
            if number == 1 {
                batch.push(&Record::Position(Position::default()));
            }
            while batch::sectors_for(batch.len()) < length {
                batch.push(&Record::TruncateFrom(0));
            }
            let sealed = batch.seal(9, at, number);
            bytes[at as usize * SECTOR..][..sealed.len()].copy_from_slice(sealed);
            at += length;
        }
        bytes
    }

    fn scanned(bytes: &[u8]) -> Result<Scanned, Damage> {
        scan(&segment(), bytes, |_, _| Ok(()))
    }

    #[test]
    fn a_batch_may_lack_sectors_only_if_no_later_one_has_any() {
        let batches = [0, 1, 1, 2, 3, 3, 3, 4, 4];
        let whole = written(&[1, 2, 1, 3, 2]);
        for lost in 1..1_u32 << batches.len() {
            let is_lost = |at: &usize| lost & (1 << at) != 0;
            let mut bytes = whole.clone();
            for at in (0..batches.len()).filter(is_lost) {
                bytes[(1 + at) * SECTOR..][..SECTOR].fill(0);
            }
            let first_lost = (0..batches.len()).find(is_lost).map(|at| batches[at]);
            let last_left = (0..batches.len()).rfind(|at| !is_lost(at)).map(|at| batches[at]);
            let scanned = scanned(&bytes);
            assert_eq!(scanned.is_ok(), last_left <= first_lost, "{lost:#b} lost: {scanned:?}");
        }
    }

    #[test]
    fn a_torn_batch_ends_where_its_header_says() {
        let mut bytes = written(&[1, 2]);
        bytes[3 * SECTOR..4 * SECTOR].fill(0);
        assert_eq!(scanned(&bytes).unwrap().torn, Some(2..3));
        sector::seal(&mut bytes[4 * SECTOR..5 * SECTOR], 9, 4, 2, false);
        assert_eq!(scanned(&bytes).unwrap_err().offset, 4 * SECTOR as u64);
    }
}
