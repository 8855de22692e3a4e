//! Makes the next segment while the active one fills, and removes those that were purged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::disk::{self, Disk};
use crate::log::error::Failure;
use crate::log::segment::Segment;
use crate::log::space::Space;

/// How long a full disk is left alone before it is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What there is to do, off the way of writing.
#[derive(Debug)]
pub(super) enum Chore {
    /// Make this segment.
    Prepare(u32),
    /// Remove this segment, the oldest.
    Remove(PathBuf),
}

/// Does chores until the writer ends.
#[derive(Debug)]
pub(super) struct Housekeeper {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) replica: u64,
    /// The length of a segment.
    pub(super) sectors: u32,
    pub(super) space: Space,
    pub(super) failure: Failure,
    pub(super) chores: mpsc::UnboundedReceiver<Chore>,
}

impl Housekeeper {
    pub(super) async fn run(mut self) {
        if let Err(error) = self.work().await {
            tracing::error!(%error, dir = %self.dir.display(), "the log can't go on");
            self.failure.set(&error);
            self.space.wake();
        }
    }

    async fn work(&mut self) -> io::Result<()> {
        while let Some(chore) = self.chores.recv().await {
            match chore {
                Chore::Prepare(number) => self.prepare(number).await?,
                Chore::Remove(path) => self.remove(&path)?,
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, number: u32) -> io::Result<()> {
        let hurry = |made| self.space.is_closed() || is_pressing(self.space.used(), made, self.sectors);
        loop {
            let made = Segment::create(&*self.disk, &self.dir, self.replica, number, self.sectors, hurry);
            match made.await {
                Ok(segment) => {
                    self.space.set_prepared(segment);
                    return Ok(());
                }
                Err(error) if disk::is_full(&error) => self.space.set_full(),
                Err(error) => return Err(error),
            }
            // The writer asks for one segment at a time, so this can only be a removal. It
            // makes room: the next attempt follows at once.
            match tokio::time::timeout(RETRY, self.chores.recv()).await {
                Ok(Some(Chore::Remove(path))) => self.remove(&path)?,
                Ok(Some(Chore::Prepare(number))) => unreachable!("segment {number} was asked for too early"),
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn remove(&self, segment: &Path) -> io::Result<()> {
        self.disk.remove(segment)?;
        // Each at once: after a power failure it must be the oldest ones that are gone.
        self.disk.sync_dir(&self.dir)
    }
}

/// Whether a segment of which so many sectors are made may be wanted before all are, by how many the
/// active one has used. Once that has used more than half it is so in any case.
fn is_pressing(used: u32, made: u32, sectors: u32) -> bool {
    2 * u64::from(used) > u64::from(made) + u64::from(sectors / 8)
}

#[cfg(test)]
mod tests {
    use super::is_pressing;

    #[test]
    fn a_segment_is_pressing_if_the_active_one_is_used_half_as_fast_or_nearly_full() {
        assert!(!is_pressing(0, 0, 800), "the active one was just begun");
        assert!(!is_pressing(100, 100, 800), "it will be there in time");
        assert!(is_pressing(200, 100, 800));
        assert!(!is_pressing(200, 400, 800));
        assert!(is_pressing(451, 799, 800), "who waits for the rest doesn't wait long");
    }
}
