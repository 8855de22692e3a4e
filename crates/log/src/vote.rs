//! The vote: a file of its own with two slots that are written in turn, made with the
//! log, so that voting never needs space and a torn write never costs the last vote.
//!
//! The slots are 4096 bytes apart, lest a disk with such sectors loses both at once.
//! ```text
//! 0..8     magic        29..37   term
//! 8..12    version      37..45   candidate
//! 12..20   replica id   45       whether it is committed
//! 20..28   counter      508..512 CRC-32C over 0..508
//! 28       whether there is a vote
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _};
use skv_disk::{Disk, DiskFile};

use crate::entry::Vote;
use crate::error::{Damage, OpenError};
use crate::sector::SECTOR;
use crate::segment::VERSION;

const MAGIC: [u8; 8] = *b"SKVVOTE\n";
const SLOT: usize = 4096;

/// The open file.
#[derive(Debug)]
pub(super) struct VoteFile {
    file: Arc<dyn DiskFile>,
    /// The last vote.
    newest: Slot,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    replica: u64,
    counter: u64,
    vote: Option<Vote>,
}

impl VoteFile {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("vote")
    }

    /// Makes the file, without a vote. Its name is made durable by the caller.
    pub(super) async fn create(disk: &dyn Disk, dir: &Path, replica: u64) -> io::Result<()> {
        let file = disk.create(&Self::path(dir))?;
        file.write_all_at(&[0; 2 * SLOT], 0)?;
        for counter in 0..2 {
            let slot = Slot { replica, counter, vote: None };
            file.write_all_at(&slot.encode(), slot.offset())?;
        }
        file.sync().await
    }

    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<VoteFile, OpenError> {
        let path = Self::path(dir);
        let damage = |offset: usize, reason: &str| Damage::new(&path, offset as u64, reason);
        if !disk.exists(&path).map_err(OpenError::io(&path))? {
            return Err(damage(0, "the file is missing").into());
        }
        let file = disk.open(&path).map_err(OpenError::io(&path))?;
        let mut bytes = vec![0; file.len().map_err(OpenError::io(&path))? as usize];
        file.read_exact_at(&mut bytes, 0).map_err(OpenError::io(&path))?;
        if bytes.len() != 2 * SLOT {
            let offset = bytes.len().min(2 * SLOT);
            let reason = format!("the file has {} bytes instead of {}", bytes.len(), 2 * SLOT);
            return Err(damage(offset, &reason).into());
        }

        let mut slots = Vec::with_capacity(2);
        for (i, bytes) in bytes.chunks_exact(SLOT).enumerate() {
            let (slot, rest) = bytes.split_at(SECTOR);
            if let Some(at) = rest.iter().position(|&b| b != 0) {
                return Err(damage(i * SLOT + SECTOR + at, "there is something beside the votes").into());
            }
            // A sector is written whole or not at all, so an invalid slot is no torn write.
            slots.push(
                Slot::decode(slot, &path)?
                    .ok_or_else(|| damage(i * SLOT, "the vote doesn't match its checksum"))?,
            );
        }
        let (a, b) = (slots[0], slots[1]);
        let in_turn = a.counter.abs_diff(b.counter) == 1 && a.counter % 2 == 0;
        if !in_turn || a.replica != b.replica {
            return Err(damage(0, "the two votes don't follow one another").into());
        }
        let newer = if a.counter > b.counter { a } else { b };
        Ok(VoteFile { file, newest: newer })
    }

    pub(super) fn replica(&self) -> u64 {
        self.newest.replica
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.newest.vote
    }

    /// Saves a vote, durably, over the one before the last.
    pub(super) async fn save(&mut self, vote: Vote) -> io::Result<()> {
        let slot = Slot { counter: self.newest.counter + 1, vote: Some(vote), ..self.newest };
        self.write(slot).await?;
        self.newest = slot;
        Ok(())
    }

    /// Writes the last vote once more: the process that wrote it may have ended before it
    /// was durable.
    pub(super) async fn save_again(&self) -> io::Result<()> {
        self.write(self.newest).await
    }

    async fn write(&self, slot: Slot) -> io::Result<()> {
        self.file.write_all_at(&slot.encode(), slot.offset())?;
        self.file.sync().await
    }
}

impl Slot {
    fn offset(&self) -> u64 {
        self.counter % 2 * SLOT as u64
    }

    fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        let mut out = bytes.as_mut_slice();
        out.put_slice(&MAGIC);
        out.put_u32_le(VERSION);
        out.put_u64_le(self.replica);
        out.put_u64_le(self.counter);
        if let Some(vote) = self.vote {
            out.put_u8(1);
            out.put_u64_le(vote.term);
            out.put_u64_le(vote.candidate);
            out.put_u8(vote.committed.into());
        }
        let sum = crc32c::crc32c(&bytes[..508]);
        bytes[508..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a slot; `None` if the bytes aren't those that were written.
    fn decode(bytes: &[u8], path: &Path) -> Result<Option<Slot>, OpenError> {
        let mut rest = bytes;
        if bytes[508..] != crc32c::crc32c(&bytes[..508]).to_le_bytes() || bytes[..8] != MAGIC {
            return Ok(None);
        }
        rest.advance(8);
        let found = rest.get_u32_le();
        if found != VERSION {
            return Err(OpenError::UnsupportedVersion { file: path.to_owned(), found, supported: VERSION });
        }
        let (replica, counter) = (rest.get_u64_le(), rest.get_u64_le());
        let voted = rest.get_u8() != 0;
        let vote =
            Vote { term: rest.get_u64_le(), candidate: rest.get_u64_le(), committed: rest.get_u8() != 0 };
        Ok(Some(Slot { replica, counter, vote: voted.then_some(vote) }))
    }
}
