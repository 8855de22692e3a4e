//! The segment: a file of fixed length, filled with zeros and durable before it is used,
//! so that writing a batch changes neither its length nor where its blocks lie.
//!
//! Sector 0 is the header; its magic, version and checksum stay where they are in every
//! version of the format.
//! ```text
//! 0..8     magic                 20..24   number of the segment
//! 8..12    version               24..32   salt, random
//! 12..20   replica id            32..36   sectors
//! 508..512 CRC-32C over 0..508
//! ```

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skv_disk::entropy;
use skv_disk::{Disk, DiskFile};

use crate::error::{Damage, OpenError};
use crate::sector::SECTOR;

const MAGIC: [u8; 8] = *b"SKVLOG\r\n";
/// The version of the format of segments and vote.
pub(super) const VERSION: u32 = 1;
/// The fewest sectors that can hold a position, an entry and a seal.
pub(super) const FEWEST_SECTORS: u32 = 16;

/// The sizes of a run of zeros that is synced together, in bytes: small, so that other syncs hardly
/// wait for it, or large, so that it is done soon.
const ZEROS_AT_ONCE: (usize, usize) = (128 << 10, 1 << 20);

/// The bytes that are read at once when a segment is opened: whole sectors.
const PIECE: usize = 128 << 10;

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) replica: u64,
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) sectors: u32,
}

/// The place of a record: a segment, and the offset in the payloads of all its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// A segment that has ended.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) segment: Arc<Segment>,
    /// The highest index that it ever held.
    pub(super) highest: Option<u64>,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    /// The highest index that it ever held.
    pub(super) highest: Option<u64>,
    pub(super) next_sector: u32,
    pub(super) next_batch: u32,
}

impl Active {
    /// Returns the number of sectors that are left for batches: all but the last one, which is the
    /// seal's.
    pub(super) fn room(&self) -> u32 {
        self.segment.sectors - self.next_sector - 1
    }
}

impl Segment {
    pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
        dir.join(format!("{number:08}.seg"))
    }

    /// Returns the number in a segment's name.
    pub(super) fn number_of(path: &Path) -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        let number = name.strip_suffix(".seg")?.parse().ok()?;
        (format!("{number:08}.seg") == name).then_some(number)
    }

    /// Makes a segment that is durable under its name before this returns. If it fails, nothing stays
    /// behind that the next attempt doesn't remove. `hurry` is called again and again with the number
    /// of sectors that are made.
    pub(super) async fn create(
        disk: &dyn Disk,
        dir: &Path,
        replica: u64,
        number: u32,
        sectors: u32,
        hurry: impl Fn(u32) -> bool,
    ) -> io::Result<Segment> {
        let path = Self::path(dir, number);
        let temporary = path.with_extension("tmp");
        let result = async {
            let salt = entropy::random_id();
            let file = skv_disk::create(disk, &temporary)?;
            write_zeros(&*file, 0..sectors, hurry).await?;
            let segment = Segment { path: path.clone(), file, replica, number, salt, sectors };
            segment.file.write_all_at(&segment.header(), 0)?;
            segment.file.sync().await?;
            disk.rename(&temporary, &path)?;
            disk.sync_dir(dir)?;
            Ok(segment)
        };
        let result = result.await;
        if result.is_err() {
            for path in [&temporary, &path] {
                let _ = disk.remove(path);
            }
        }
        result
    }

    /// Opens a segment, and returns the bytes of the file in `bytes`. Zeros at its end are left out: most
    /// of the newest segments is empty, and what one log needed once stays with the process.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        number: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<Segment, OpenError> {
        let damage = |offset: usize, reason: &str| Err(Damage::new(path, offset as u64, reason).into());
        let file = disk.open(path).map_err(OpenError::io(path))?;
        let length = file.len().map_err(OpenError::io(path))? as usize;
        read_without_end(&*file, length, bytes).map_err(OpenError::io(path))?;

        let Some(header) = bytes.first_chunk::<SECTOR>() else {
            return damage(length, "the file ends within its header");
        };
        let number_at =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let long_at = |at: usize| u64::from(number_at(at)) | u64::from(number_at(at + 4)) << 32;
        if header[..8] != MAGIC || number_at(508) != crc32c::crc32c(&header[..508]) {
            return damage(0, "the header doesn't match its checksum");
        }
        if number_at(8) != VERSION {
            return Err(OpenError::UnsupportedVersion {
                file: path.to_owned(),
                found: number_at(8),
                supported: VERSION,
            });
        }
        if number_at(20) != number {
            return damage(0, "this is another segment of the log");
        }
        let sectors = number_at(32);
        if length != sectors as usize * SECTOR {
            let offset = length.min(sectors as usize * SECTOR);
            return damage(offset, &format!("the file has {length} bytes instead of {sectors} sectors"));
        }
        let (replica, salt) = (long_at(12), long_at(24));
        Ok(Segment { path: path.to_owned(), file, replica, number, salt, sectors })
    }

    fn header(&self) -> [u8; SECTOR] {
        let mut header = [0; SECTOR];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..20].copy_from_slice(&self.replica.to_le_bytes());
        header[20..24].copy_from_slice(&self.number.to_le_bytes());
        header[24..32].copy_from_slice(&self.salt.to_le_bytes());
        header[32..36].copy_from_slice(&self.sectors.to_le_bytes());
        let sum = crc32c::crc32c(&header[..508]);
        header[508..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    pub(super) fn damage(&self, sector: u32, reason: impl Into<String>) -> Damage {
        Damage::new(&self.path, u64::from(sector) * SECTOR as u64, reason)
    }
}

/// Reads a file of this length but for zeros at its end.
fn read_without_end(file: &dyn DiskFile, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    // All at once, since what a buffer leaves behind when it grows stays with the process, too. Memory that
    // nothing is written to isn't taken yet.
    into.reserve_exact(length);
    let mut piece = vec![0; PIECE.min(length)];
    for offset in (0..length).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(length - offset)];
        file.read_exact_at(piece, offset as u64)?;
        if offset == 0 || piece.iter().any(|byte| *byte != 0) {
            into.resize(offset, 0);
            into.extend_from_slice(piece);
        }
    }
    Ok(())
}

/// Fills sectors with zeros, synced piece by piece so that no other sync waits for all of them.
/// Before each, `hurry` is called with the number of sectors that are filled.
pub(super) async fn write_zeros(
    file: &dyn DiskFile,
    sectors: Range<u32>,
    hurry: impl Fn(u32) -> bool,
) -> io::Result<()> {
    let (few, many) = ZEROS_AT_ONCE;
    let zeros = vec![0; many.min(sectors.len() * SECTOR)];
    let mut next = sectors.start;
    while next < sectors.end {
        let at_once = if hurry(next - sectors.start) { many } else { few };
        let piece = &zeros[..at_once.min((sectors.end - next) as usize * SECTOR)];
        file.write_all_at(piece, u64::from(next) * SECTOR as u64)?;
        file.sync().await?;
        // A process of one thread has other work, too.
        tokio::task::yield_now().await;
        next += (piece.len() / SECTOR) as u32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use skv_disk::MemoryDisk;

    #[test]
    fn zeros_at_the_end_of_a_file_are_not_read_into_memory() {
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("/a")).unwrap();
        let mut written = vec![0; 6 * PIECE + SECTOR];
        let read = |written: &[u8]| {
            file.write_all_at(written, 0).unwrap();
            let mut bytes = vec![9; 3];
            read_without_end(&*file, written.len(), &mut bytes).unwrap();
            assert_eq!(bytes, written[..bytes.len()]);
            bytes.len() / SECTOR
        };
        assert_eq!(read(&written), PIECE / SECTOR, "its header may be damaged");
        written[3 * PIECE] = 1;
        assert_eq!(read(&written), 4 * PIECE / SECTOR);
        *written.last_mut().unwrap() = 1;
        assert_eq!(read(&written), written.len() / SECTOR);
    }

    #[tokio::test]
    async fn it_is_made_in_small_pieces_unless_there_is_a_hurry() {
        const SECTORS: u32 = (4 << 20) / SECTOR as u32;
        let disk = MemoryDisk::new();
        let pieces = async |path: &str, hurry: fn(u32) -> bool| {
            let (file, asked) = (disk.create(Path::new(path)).unwrap(), AtomicUsize::new(0));
            let counted = |made| {
                asked.fetch_add(1, Ordering::Relaxed);
                hurry(made)
            };
            write_zeros(&*file, 0..SECTORS, counted).await.unwrap();
            assert_eq!(file.len().unwrap(), 4 << 20);
            asked.into_inner()
        };
        assert_eq!(pieces("/a", |_| false).await, 32);
        assert_eq!(pieces("/b", |_| true).await, 4);
        assert_eq!(pieces("/c", |made| made >= SECTORS / 2).await, 16 + 2);
    }
}
