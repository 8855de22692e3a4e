//! A snapshot file that is being written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use skv_disk::DiskFile;
use tokio::time::Instant;

use crate::progress::Progress;

/// The number of bytes that may wait to become durable, hardly more, on a disk that syncs quickly. The log
/// would feel every byte of a whole snapshot that is synced at once: its own syncs queue behind.
const LEAST_UNSYNCED: u64 = 256 << 10;
/// The same on a disk whose syncs take long whatever they sync.
const MOST_UNSYNCED: u64 = 4 << 20;
/// A sync that takes no longer isn't slow.
const QUICK: Duration = Duration::from_millis(2);

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(super) struct Growing {
    file: Arc<dyn DiskFile>,
    length: u64,
    synced: u64,
    step: Step,
    progress: Progress,
}

impl Growing {
    /// Goes on with a file that holds `length` bytes; `progress` counts what becomes durable from now on.
    pub(super) fn from(file: Arc<dyn DiskFile>, length: u64, progress: Progress) -> Self {
        Growing { file, length, synced: length, step: Step::default(), progress }
    }

    /// Returns the bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes at the end.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(LEAST_UNSYNCED as usize) {
            self.file.write_all_at(piece, self.length)?;
            self.length += piece.len() as u64;
            if self.length - self.synced >= self.step.bytes {
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
        let began = Instant::now();
        self.file.sync().await?;
        let bytes = self.length - self.synced;
        self.step.adapt(bytes, began.elapsed());
        self.progress.add(bytes);
        self.synced = self.length;
        Ok(())
    }
}

/// The number of bytes that are synced at once. It grows while that pays: where a sync costs the same
/// whatever it syncs, as on a network volume, twice the bytes take hardly longer. Where the bytes are
/// what takes time it stays small, and the log waits for few of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    bytes: u64,
    /// The bytes per second of the last larger step.
    rate: u64,
}

impl Default for Step {
    fn default() -> Self {
        Step { bytes: LEAST_UNSYNCED, rate: 0 }
    }
}

impl Step {
    /// Takes into account the time that writing these bytes took.
    fn adapt(&mut self, bytes: u64, took: Duration) {
        if bytes < self.bytes {
            return;
        }
        if took <= QUICK {
            *self = Step::default();
            return;
        }
        let rate = bytes * 1000 / (took.as_millis() as u64).max(1);
        if rate > self.rate / 2 * 3 {
            *self = Step { bytes: (self.bytes * 2).min(MOST_UNSYNCED), rate };
        } else if rate < self.rate / 2 {
            // The disk has become slower: what pays there is found out again.
            *self = Step::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::FutureExt as _;

    use super::*;
    use skv_disk::{Disk as _, MemoryDisk};

    const STEP: usize = LEAST_UNSYNCED as usize;

    fn create(disk: &MemoryDisk, progress: &Progress) -> Growing {
        Growing::from(disk.create(Path::new("/f")).unwrap(), 0, progress.clone())
    }

    // The clock stands still, so that no sync is slow.
    #[tokio::test(start_paused = true)]
    async fn what_waits_to_become_durable_is_little() {
        let disk = MemoryDisk::new();
        let progress = Progress::default();
        let mut file = create(&disk, &progress);
        disk.hold_syncs();
        let half = vec![0; STEP / 2];
        file.append(&half).now_or_never().expect("nothing is synced yet").unwrap();
        {
            let mut append = Box::pin(file.append(&half));
            assert!(futures::poll!(&mut append).is_pending());
            assert_eq!(progress.bytes(), 0, "nothing is durable yet");
            disk.let_sync(1);
            append.await.unwrap();
            assert_eq!(progress.bytes(), LEAST_UNSYNCED);
        }
        file.append(&half).now_or_never().expect("what was synced is").unwrap();
        assert_eq!(file.length(), LEAST_UNSYNCED / 2 * 3);
        {
            let much = vec![0; 3 * STEP];
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

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_takes_long_for_each_sync_gets_fewer_of_them() {
        let disk = MemoryDisk::new();
        let sync = Duration::from_millis(20);
        disk.set_sync_delay(sync);
        let mut file = create(&disk, &Progress::default());
        let began = Instant::now();
        file.append(&vec![0; 64 * STEP]).await.unwrap();
        // A quarter of a MiB, a half, one, two, and then four at a time.
        assert_eq!(began.elapsed().as_millis() / sync.as_millis(), 7);
        file.finish().await.unwrap();
    }

    #[test]
    fn a_step_grows_only_where_that_pays() {
        let mut step = Step::default();
        for _ in 0..10 {
            step.adapt(step.bytes, Duration::from_millis(1));
        }
        assert_eq!(step, Step::default(), "a quick disk");
        for _ in 0..10 {
            // A disk of 10 MB per second.
            step.adapt(step.bytes, Duration::from_micros(step.bytes / 10));
        }
        assert_eq!(step.bytes, 2 * LEAST_UNSYNCED);
        step.adapt(step.bytes, Duration::from_secs(1));
        assert_eq!(step.bytes, LEAST_UNSYNCED, "it has become slower");
        for _ in 0..10 {
            step.adapt(step.bytes, Duration::from_millis(500));
        }
        assert_eq!(step.bytes, MOST_UNSYNCED);
        step.adapt(1, Duration::from_secs(100));
        assert_eq!(step.bytes, MOST_UNSYNCED, "the rest of a file tells nothing");
    }
}
