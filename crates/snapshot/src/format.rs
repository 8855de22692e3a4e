//! The layout of a snapshot file. Numbers are little-endian, checksums CRC-32C.
//!
//! ```text
//! preamble  magic (8)  version (4)  checksum of both (4)
//! frame     kind (4)  length (4)  checksum of the payload (4)  checksum of these 12 (4)  payload
//! ```
//!
//! The frames are one header (a `v1::SnapshotHeader`), chunks of length-delimited
//! `v1::SnapshotItem`s of about 1 MiB each, and one footer: number of chunks (8), of
//! items (8), offset of the footer (8), checksum of everything before it (4). The file
//! ends there.

use prost::Message;
use skv_proto::v1;

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"SKV-SNAP";

/// The bytes of the preamble.
pub(super) const PREAMBLE: usize = 16;

/// The bytes of a frame before its payload.
pub(super) const FRAME_HEADER: usize = 16;

/// The bytes from which on a chunk is written.
const CHUNK: usize = 1 << 20;

/// The most bytes of a frame's payload. A chunk that is almost full and the largest item have far less.
const LONGEST: u32 = 64 << 20;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Header = 1,
    Chunk = 2,
    Footer = 3,
}

/// The reason why bytes are no preamble.
pub(super) enum BadPreamble {
    Damaged(&'static str),
    UnsupportedVersion(u32),
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32
}

fn preamble() -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Checks a preamble. The checksum is read before the version, so that a damaged version isn't taken
/// for one of the future.
pub(super) fn check_preamble(bytes: &[u8; PREAMBLE]) -> Result<(), BadPreamble> {
    if crc32c::crc32c(&bytes[..12]) != number(bytes, 12) {
        return Err(BadPreamble::Damaged("the checksum of its first bytes is wrong"));
    }
    if bytes[..8] != MAGIC {
        return Err(BadPreamble::Damaged("it isn't a snapshot"));
    }
    match number(bytes, 8) {
        VERSION => Ok(()),
        found => Err(BadPreamble::UnsupportedVersion(found)),
    }
}

/// The header of a frame, which precedes its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    pub(super) length: u32,
    pub(super) checksum: u32,
}

impl FrameHeader {
    fn encode(self) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[..4].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if the bytes aren't a frame's, or nobody writes such a long one.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER]) -> Option<Self> {
        let intact = crc32c::crc32c(&bytes[..12]) == number(bytes, 12);
        let kind = match number(bytes, 0) {
            1 => Kind::Header,
            2 => Kind::Chunk,
            3 => Kind::Footer,
            _ => return None,
        };
        let header = Self { kind, length: number(bytes, 4), checksum: number(bytes, 8) };
        (intact && header.length <= LONGEST).then_some(header)
    }
}

/// The counts along the file, which stand in its footer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) chunks: u64,
    pub(super) items: u64,
    /// The number of bytes so far.
    pub(super) offset: u64,
    /// The checksum of these bytes.
    pub(super) checksum: u32,
}

impl Totals {
    /// Takes the next bytes of the file into account.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
    }

    fn encode(self) -> Vec<u8> {
        let numbers = [self.chunks, self.items, self.offset].into_iter().flat_map(u64::to_le_bytes);
        numbers.chain(self.checksum.to_le_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 28).then(|| Self {
            chunks: long(bytes, 0),
            items: long(bytes, 8),
            offset: long(bytes, 16),
            checksum: number(bytes, 24),
        })
    }
}

/// Turns a header and items into the pieces of a file, to be written one after the other.
#[derive(Debug)]
pub(super) struct Encoder {
    totals: Totals,
    /// The next frame: room for its header, then what it has so far.
    frame: Vec<u8>,
}

impl Encoder {
    /// Returns an encoder, and the file's first piece.
    pub(super) fn new(header: &v1::SnapshotHeader) -> (Self, Vec<u8>) {
        let mut encoder = Self { totals: Totals::default(), frame: vec![0; FRAME_HEADER] };
        let mut piece = preamble().to_vec();
        encoder.totals.add(&piece);
        encoder.frame.extend(header.encode_to_vec());
        piece.extend(encoder.end_frame(Kind::Header));
        (encoder, piece)
    }

    /// Adds an item; returns a piece when enough has come together.
    pub(super) fn add(&mut self, item: &v1::SnapshotItem) -> Option<Vec<u8>> {
        item.encode_length_delimited(&mut self.frame).expect("a vector grows");
        self.totals.items += 1;
        (self.frame.len() >= CHUNK).then(|| self.end_chunk())
    }

    /// Returns the last piece.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut piece = if self.frame.len() > FRAME_HEADER { self.end_chunk() } else { Vec::new() };
        self.frame.extend(self.totals.encode());
        piece.extend(self.end_frame(Kind::Footer));
        piece
    }

    fn end_chunk(&mut self) -> Vec<u8> {
        self.totals.chunks += 1;
        self.end_frame(Kind::Chunk)
    }

    fn end_frame(&mut self, kind: Kind) -> Vec<u8> {
        let mut next = Vec::with_capacity(FRAME_HEADER + CHUNK + CHUNK / 8);
        next.resize(FRAME_HEADER, 0);
        let mut frame = std::mem::replace(&mut self.frame, next);
        let payload = &frame[FRAME_HEADER..];
        let header = FrameHeader { kind, length: payload.len() as u32, checksum: crc32c::crc32c(payload) };
        frame[..FRAME_HEADER].copy_from_slice(&header.encode());
        self.totals.add(&frame);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_nobody_writes_is_not_read_into_memory() {
        let read = |length| {
            let header = FrameHeader { kind: Kind::Chunk, length, checksum: 7 };
            FrameHeader::decode(&header.encode()).map(|header| header.length)
        };
        assert_eq!([0, LONGEST, LONGEST + 1, u32::MAX].map(read), [Some(0), Some(LONGEST), None, None]);
    }
}
