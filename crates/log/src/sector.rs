//! The sector: 512 bytes that a disk writes whole or not at all.
//!
//! ```text
//! 0..4    CRC-32C over the segment's salt, the sector's number and bytes 4..512
//! 4..8    mark: the first sector of a batch, or a later one
//! 8..12   the batch's number within its segment, from 1
//! 12..512 payload
//! ```
//! The mark's four bytes are never 0, so that no single wrong byte turns a written sector
//! into an empty one; the checksum detects every run of up to 32 wrong bits.

/// The length of a sector.
pub(super) const SECTOR: usize = 512;
/// The length of the header that precedes the payload.
pub(super) const HEADER: usize = 12;
/// The payload of one sector.
pub(super) const PAYLOAD: usize = SECTOR - HEADER;

const FIRST: [u8; 4] = *b"SKVf";
const LATER: [u8; 4] = *b"SKVl";

/// The content of a sector's 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sector<'a> {
    /// All zeros: never written, or erased.
    Empty,
    /// Part of a batch.
    Written { batch: u32, first: bool, payload: &'a [u8] },
    /// The sector is neither.
    Damaged,
}

/// Fills in the header; the payload is there already.
pub(super) fn seal(bytes: &mut [u8], salt: u64, sector: u32, batch: u32, first: bool) {
    bytes[4..8].copy_from_slice(if first { &FIRST } else { &LATER });
    bytes[8..12].copy_from_slice(&batch.to_le_bytes());
    let sum = checksum(bytes, salt, sector);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
}

/// Reads a sector.
pub(super) fn read(bytes: &[u8], salt: u64, sector: u32) -> Sector<'_> {
    if bytes.iter().all(|&b| b == 0) {
        return Sector::Empty;
    }
    let first = bytes[4..8] == FIRST;
    if bytes[..4] != checksum(bytes, salt, sector).to_le_bytes() || !(first || bytes[4..8] == LATER) {
        return Sector::Damaged;
    }
    let batch = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    Sector::Written { batch, first, payload: &bytes[HEADER..] }
}

fn checksum(bytes: &[u8], salt: u64, sector: u32) -> u32 {
    let sum = crc32c::crc32c(&salt.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &sector.to_le_bytes());
    crc32c::crc32c_append(sum, &bytes[4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_itself_only_where_it_was_written() {
        let mut bytes = [7; SECTOR];
        seal(&mut bytes, 1, 2, 3, true);
        assert_eq!(read(&bytes, 1, 2), Sector::Written { batch: 3, first: true, payload: &[7; PAYLOAD] });
        assert_eq!(read(&bytes, 9, 2), Sector::Damaged);
        assert_eq!(read(&bytes, 1, 9), Sector::Damaged);
        assert_eq!(read(&[0; SECTOR], 1, 2), Sector::Empty);
    }

    #[test]
    fn no_wrong_byte_passes_for_another_sector_or_for_none() {
        let mut sealed = [0; SECTOR];
        seal(&mut sealed, 1, 2, 3, false);
        for at in 0..SECTOR {
            for mask in 1..=255 {
                let mut bytes = sealed;
                bytes[at] ^= mask;
                assert_eq!(read(&bytes, 1, 2), Sector::Damaged, "byte {at} ^ {mask:#x}");
            }
        }
    }
}
