//! A file: its bytes, and the earlier bytes of each sector that isn't synced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::state::{Faults, State};
use crate::DiskFile;

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) content: Mutex<Content>,
    /// The name of the directory that it was made in.
    pub(super) place: OsString,
    pub(super) state: Arc<State>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) synced_len: usize,
    /// The synced bytes of sectors that were written since.
    pub(super) before: BTreeMap<usize, Box<[u8]>>,
}

impl MemoryFile {
    pub(super) fn after_kill(&self, state: &Arc<State>) -> MemoryFile {
        let content = self.content.lock().clone();
        state.used.fetch_add(content.bytes.len() as u64, Ordering::Relaxed);
        MemoryFile { content: Mutex::new(content), place: self.place.clone(), state: state.clone() }
    }

    pub(super) fn after_crash(&self, survives: &mut impl FnMut() -> bool, state: &Arc<State>) -> MemoryFile {
        let content = self.content.lock();
        let mut bytes = content.bytes.clone();
        for (sector, before) in &content.before {
            if !survives() {
                let start = sector * SECTOR;
                bytes[start..start + before.len()].copy_from_slice(before);
            }
        }
        let mut len = content.synced_len;
        let mut at = content.synced_len;
        while at < bytes.len() {
            let end = (at / SECTOR + 1).saturating_mul(SECTOR).min(bytes.len());
            if survives() {
                len = end;
            } else {
                bytes[at..end].fill(0);
            }
            at = end;
        }
        bytes.truncate(len);
        state.used.fetch_add(len as u64, Ordering::Relaxed);
        let content = Content { bytes, synced_len: len, before: BTreeMap::new() };
        MemoryFile { content: Mutex::new(content), place: self.place.clone(), state: state.clone() }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.state.used.fetch_sub(self.content.get_mut().bytes.len() as u64, Ordering::Relaxed);
    }
}

impl DiskFile for MemoryFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.state.check_power()?;
        let content = self.content.lock();
        let start = offset as usize;
        let bytes = content.bytes.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.check_power()?;
        let content = &mut *self.content.lock();
        let start = offset as usize;
        let end = start + bytes.len();
        let len = content.bytes.len();
        if end > len {
            self.state.grow((end - len) as u64)?;
            content.bytes.resize(end, 0);
        }
        let synced = content.synced_len;
        let mut sector = start / SECTOR;
        while sector * SECTOR < end.min(synced) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(synced);
            content.before.entry(sector).or_insert_with(|| content.bytes[range].into());
            sector += 1;
        }
        content.bytes[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.state.check_power()?;
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let Faults { sync_delay, sync_delay_in, sync_gate, .. } = self.state.faults.lock().clone();
            let here = sync_delay_in.filter(|(directory, _)| self.place == *directory);
            let delay = here.map_or(sync_delay, |(_, delay)| delay);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(gate) = sync_gate {
                gate.acquire().await.map_err(io::Error::other)?.forget();
            }
            self.state.check_sync()?;
            let content = &mut *self.content.lock();
            content.before.clear();
            content.synced_len = content.bytes.len();
            Ok(())
        })
    }
}
