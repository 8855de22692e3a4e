//! A complete snapshot file: reading it item by item, and sending it byte by byte.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::Stream;
use parking_lot::Mutex;
use prost::Message;
use skv_disk::{Disk, DiskFile};
use skv_proto::{Shaped, check_inner, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::format::{
    BadPreamble, FRAME_HEADER, FrameHeader, Kind, PREAMBLE, Totals, VERSION, check_preamble,
};
use crate::progress::Progress;
use crate::receiving::Fingerprint;

/// The number of bytes that are read and sent at once.
const PIECE: u64 = 1 << 20;

/// The number of pieces that wait to be sent.
const PIECES_AHEAD: usize = 2;

/// A snapshot that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Some of its bytes aren't those that were written.
    #[error("snapshot {} is damaged at byte {offset}: {reason}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The offset at which the damaged part begins.
        offset: u64,
        /// A description of the damage.
        reason: String,
    },
    /// Another version of the server wrote it; nothing is wrong with it.
    #[error(
        "snapshot {} has format {found}, but this server reads format {supported}: start a server that knows it",
        .file.display()
    )]
    UnsupportedVersion {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this server reads.
        supported: u32,
    },
    /// The disk failed.
    #[error("snapshot {}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
}

/// A complete snapshot on disk. Clones share it; it stays readable when a newer one has
/// taken its place.
#[derive(Debug, Clone)]
pub struct SnapshotFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: v1::SnapshotHeader,
    length: u64,
    /// The checksum at the end of the file, of everything before its last frame.
    checksum: u32,
    temporary: Mutex<bool>,
    progress: Progress,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.temporary.get_mut() {
            // A file that remains is removed when the directory is opened the next time.
            let _ = self.disk.remove(&self.path);
        }
    }
}

impl SnapshotFile {
    /// Opens a file and reads its header; `progress` counts what is read of it. Blocks.
    pub(super) fn open(disk: &Arc<dyn Disk>, path: &Path, progress: Progress) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { file: path.to_owned(), source };
        let file = disk.open(path).map_err(io)?;
        let (disk, path) = (Arc::clone(disk), path.to_owned());
        let mut reader = Reader::new(&path, &*file, &progress)?;
        let header = reader.header()?;
        let (length, checksum) = (reader.length, reader.last_number()?);
        let temporary = Mutex::new(false);
        Ok(Self(Arc::new(Inner { disk, path, file, header, length, checksum, temporary, progress })))
    }

    /// Has the file removed when its last handle goes, until [`Self::set_permanent`].
    pub(super) fn set_temporary(&self) {
        *self.0.temporary.lock() = true;
    }

    /// Has the file stay.
    pub(super) fn set_permanent(&self) {
        *self.0.temporary.lock() = false;
    }

    /// Returns the same file under the name that it was given.
    pub(super) fn renamed(&self, path: PathBuf) -> Self {
        let Inner { disk, file, header, length, checksum, progress, .. } = &*self.0;
        Self(Arc::new(Inner {
            disk: Arc::clone(disk),
            path,
            file: Arc::clone(file),
            header: header.clone(),
            length: *length,
            checksum: *checksum,
            temporary: Mutex::new(false),
            progress: progress.clone(),
        }))
    }

    /// Returns true if it is a file of this directory of this disk.
    pub(super) fn is_in(&self, disk: &Arc<dyn Disk>, dir: &Path) -> bool {
        Arc::ptr_eq(&self.0.disk, disk) && self.0.path.parent() == Some(dir)
    }

    /// Returns the header, which says what the snapshot covers.
    pub fn header(&self) -> &v1::SnapshotHeader {
        &self.0.header
    }

    /// Returns the file's name; that of a temporary one until it is kept.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns the bytes of the file.
    pub fn length(&self) -> u64 {
        self.0.length
    }

    /// Returns what tells this file from others.
    pub fn fingerprint(&self) -> Fingerprint {
        let Inner { header, length, checksum, .. } = &*self.0;
        let (term, index) = header.last_log_id.as_ref().map_or((0, 0), |id| (id.term, id.index));
        Fingerprint { term, index, length: *length, checksum: *checksum }
    }

    /// Passes every item to `each`, and checks every byte of the file on the way. An item that `each`
    /// refuses is damage. Blocks.
    pub fn read(
        &self,
        mut each: impl FnMut(v1::SnapshotItem) -> Result<(), String>,
    ) -> Result<(), OpenError> {
        let mut reader = Reader::new(&self.0.path, &*self.0.file, &self.0.progress)?;
        reader.header()?;
        while let Some((offset, mut chunk)) = reader.chunk()? {
            while chunk.has_remaining() {
                let item = next_item(&mut chunk).map_err(|reason| reader.damaged(offset, reason))?;
                reader.seen.items += 1;
                each(item).map_err(|reason| reader.damaged(offset, reason))?;
            }
        }
        Ok(())
    }

    /// Returns the file's bytes from this offset on, read ahead by a task of the disk.
    pub fn chunks(&self, from: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (pieces, received) = mpsc::channel(PIECES_AHEAD);
        let this = self.clone();
        self.0.disk.spawn(
            "snapshot-send",
            Box::pin(async move {
                let mut offset = from;
                while offset < this.0.length {
                    let piece = this.piece(offset);
                    let failed = piece.is_err();
                    if pieces.send(piece).await.is_err() || failed {
                        return;
                    }
                    offset += PIECE;
                }
            }),
        );
        ReceiverStream::new(received)
    }

    /// Returns the piece at an offset below the length. Blocks.
    pub(super) fn piece(&self, offset: u64) -> io::Result<Bytes> {
        let mut piece = vec![0; PIECE.min(self.0.length - offset) as usize];
        self.0.file.read_exact_at(&mut piece, offset)?;
        Ok(piece.into())
    }
}

/// Takes the next item off a chunk, which isn't empty.
fn next_item(chunk: &mut Bytes) -> Result<v1::SnapshotItem, String> {
    let length = prost::decode_length_delimiter(&mut *chunk).map_err(|error| error.to_string())?;
    if length > chunk.len() {
        return Err("an item is longer than its chunk".to_owned());
    }
    decode(chunk.split_to(length))
}

/// Decodes a message, once it is known to take little more memory than its bytes.
fn decode<M: Message + Shaped + Default>(bytes: Bytes) -> Result<M, String> {
    check_inner::<M>(&bytes).map_err(|excess| excess.to_string())?;
    M::decode(bytes).map_err(|error| error.to_string())
}

/// Returns the length of the part of a file, from its beginning, in which every frame is whole; 0 if it
/// can't be read at all. Blocks.
pub(super) fn whole_prefix(disk: &dyn Disk, path: &Path) -> u64 {
    let progress = Progress::default();
    let Ok(file) = disk.open(path) else { return 0 };
    let Ok(mut reader) = Reader::new(path, &*file, &progress) else { return 0 };
    if reader.header().is_err() {
        return 0;
    }
    let mut whole = reader.seen.offset;
    while reader.frame().is_ok() {
        whole = reader.seen.offset;
    }
    whole
}

/// Reads frames in order and checks them.
struct Reader<'a> {
    path: &'a Path,
    file: &'a dyn DiskFile,
    length: u64,
    seen: Totals,
    progress: &'a Progress,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, file: &'a dyn DiskFile, progress: &'a Progress) -> Result<Self, OpenError> {
        let length = file.len().map_err(|source| OpenError::Io { file: path.to_owned(), source })?;
        Ok(Self { path, file, length, seen: Totals::default(), progress })
    }

    fn damaged(&self, offset: u64, reason: impl Into<String>) -> OpenError {
        OpenError::Damaged { file: self.path.to_owned(), offset, reason: reason.into() }
    }

    /// Reads the next bytes of the file.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), OpenError> {
        self.peek(bytes)?;
        self.seen.add(bytes);
        self.progress.add(bytes.len() as u64);
        Ok(())
    }

    fn peek(&self, bytes: &mut [u8]) -> Result<(), OpenError> {
        if bytes.len() as u64 > self.length - self.seen.offset {
            return Err(self.damaged(self.length, "it is cut off here"));
        }
        let read = self.file.read_exact_at(bytes, self.seen.offset);
        read.map_err(|source| OpenError::Io { file: self.path.to_owned(), source })
    }

    /// Returns the number in the last bytes of the file, which is longer than that.
    fn last_number(&self) -> Result<u32, OpenError> {
        let mut bytes = [0; 4];
        let read = self.file.read_exact_at(&mut bytes, self.length - 4);
        read.map_err(|source| OpenError::Io { file: self.path.to_owned(), source })?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn header(&mut self) -> Result<v1::SnapshotHeader, OpenError> {
        let mut preamble = [0; PREAMBLE];
        self.take(&mut preamble)?;
        check_preamble(&preamble).map_err(|bad| match bad {
            BadPreamble::Damaged(reason) => self.damaged(0, reason),
            BadPreamble::UnsupportedVersion(found) => {
                OpenError::UnsupportedVersion { file: self.path.to_owned(), found, supported: VERSION }
            }
        })?;
        let offset = self.seen.offset;
        let (kind, header) = self.frame()?;
        if kind != Kind::Header {
            return Err(self.damaged(offset, "there is no header"));
        }
        decode(header).map_err(|reason| self.damaged(offset, reason))
    }

    /// Reads the next chunk, and returns it with its offset; `None` after the footer, when all was
    /// found right.
    fn chunk(&mut self) -> Result<Option<(u64, Bytes)>, OpenError> {
        let before = self.seen;
        let offset = before.offset;
        match self.frame()? {
            (Kind::Chunk, chunk) => {
                self.seen.chunks += 1;
                Ok(Some((offset, chunk)))
            }
            (Kind::Footer, totals) if Totals::decode(&totals) != Some(before) => {
                Err(self.damaged(offset, "the footer disagrees with what comes before it"))
            }
            (Kind::Footer, _) if self.seen.offset != self.length => {
                Err(self.damaged(self.seen.offset, "there are bytes after its end"))
            }
            (Kind::Footer, _) => Ok(None),
            (Kind::Header, _) => Err(self.damaged(offset, "there is a second header")),
        }
    }

    fn frame(&mut self) -> Result<(Kind, Bytes), OpenError> {
        let offset = self.seen.offset;
        let mut header = [0; FRAME_HEADER];
        self.take(&mut header)?;
        let header = FrameHeader::decode(&header)
            .ok_or_else(|| self.damaged(offset, "this is no part of a snapshot"))?;
        // The length is checked before it is believed: no more is allocated than there is in the
        // file.
        if u64::from(header.length) > self.length - self.seen.offset {
            return Err(self.damaged(self.length, "it is cut off here"));
        }
        let mut payload = vec![0; header.length as usize];
        self.take(&mut payload)?;
        if crc32c::crc32c(&payload) != header.checksum {
            return Err(self.damaged(offset, "the checksum is wrong"));
        }
        Ok((header.kind, payload.into()))
    }
}

#[cfg(test)]
mod tests {
    use skv_disk::MemoryDisk;
    use skv_proto::v1::snapshot_item::Item;

    use super::*;
    use crate::SnapshotDir;

    #[tokio::test]
    async fn an_item_that_would_take_many_times_its_bytes_is_not_decoded() {
        let dir = SnapshotDir::open(Arc::new(MemoryDisk::new()), "/s".into()).unwrap();
        for (decided, fits) in [(1024, true), (400_000, false)] {
            let decided = vec![v1::session_state::Decided::default(); decided];
            let session = Item::Session(v1::SessionState { decided, ..Default::default() });
            let items = std::iter::once(v1::SnapshotItem { item: Some(session) });
            let file = dir.write(v1::SnapshotHeader::default(), items).await.unwrap();
            let mut count = 0;
            let read = file.read(|_| {
                count += 1;
                Ok(())
            });
            assert_eq!((read.is_ok(), count), (fits, i32::from(fits)));
        }
    }

    #[test]
    fn an_item_is_no_longer_than_its_chunk() {
        let item = v1::SnapshotItem { item: Some(Item::Forgotten(v1::SessionId::default())) };
        let bytes = Bytes::from(item.encode_length_delimited_to_vec());
        assert_eq!(next_item(&mut bytes.clone()), Ok(item));
        assert!(next_item(&mut bytes.slice(..1)).is_err());
    }
}
