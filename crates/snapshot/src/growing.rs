//! A snapshot file that is being written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use skv_disk::{Disk, DiskFile};

use crate::progress::Progress;

/// The number of bytes that may wait to become durable, hardly more. The log would feel every byte of
/// a whole snapshot that is synced at once: its own syncs queue behind.
const UNSYNCED: u64 = 256 << 10;

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(super) struct Growing {
    file: Arc<dyn DiskFile>,
    length: u64,
    synced: u64,
    progress: Progress,
}

impl Growing {
    /// Makes a new, empty file; `progress` counts what becomes durable of it.
    pub(super) fn create(disk: &dyn Disk, path: &Path, progress: Progress) -> io::Result<Self> {
        Ok(Growing { file: skv_disk::create(disk, path)?, length: 0, synced: 0, progress })
    }

    /// Returns the bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes at the end.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(UNSYNCED as usize) {
            self.file.write_all_at(piece, self.length)?;
            self.length += piece.len() as u64;
            if self.length - self.synced >= UNSYNCED {
                self.sync().await?;
            }
        }
        Ok(())
    }

    /// Makes all of it durable.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        self.sync().await
    }

    async fn sync(&mut self) -> io::Result<()> {
        self.file.sync().await?;
        self.progress.add(self.length - self.synced);
        self.synced = self.length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use skv_disk::MemoryDisk;

    #[tokio::test]
    async fn what_waits_to_become_durable_is_little() {
        let disk = MemoryDisk::new();
        let progress = Progress::default();
        let mut file = Growing::create(&disk, Path::new("/f"), progress.clone()).unwrap();
        disk.hold_syncs();
        let half = vec![0; UNSYNCED as usize / 2];
        file.append(&half).now_or_never().expect("nothing is synced yet").unwrap();
        {
            let mut append = Box::pin(file.append(&half));
            assert!(futures::poll!(&mut append).is_pending());
            assert_eq!(progress.bytes(), 0, "nothing is durable yet");
            disk.let_sync(1);
            append.await.unwrap();
            assert_eq!(progress.bytes(), UNSYNCED);
        }
        file.append(&half).now_or_never().expect("what was synced is").unwrap();
        assert_eq!(file.length(), UNSYNCED / 2 * 3);
        {
            let much = vec![0; 3 * UNSYNCED as usize];
            let mut append = Box::pin(file.append(&much));
            for _ in 0..3 {
                assert!(futures::poll!(&mut append).is_pending());
                disk.let_sync(1);
            }
            append.await.unwrap();
        }
        disk.let_sync(1);
        file.finish().await.unwrap();
    }
}
