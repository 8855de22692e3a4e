//! Makes the next segment while the active one fills, and removes those that were purged.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skv_disk::Disk as _;
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::gate::Gate;
use crate::segment::Segment;
use crate::space::Space;

/// The pause before a disk that is full, or takes no new file, is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// A task that needn't delay writing.
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
    pub(super) disk: Arc<Gate>,
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
        if let Err(error) = self.work().await
            && !self.disk.is_closed()
        {
            tracing::error!(%error, dir = %self.dir.display(), "the log can't go on");
            self.failure.set(&error);
            self.space.wake();
        }
    }

    async fn work(&mut self) -> io::Result<()> {
        let mut todo = Todo::default();
        loop {
            if self.disk.is_closed() {
                return Ok(());
            }
            // Each removed segment makes room.
            let waits = !self.remove(&mut todo)? | !self.prepare(&mut todo).await?;
            let chore = if waits {
                tokio::time::timeout(RETRY, self.chores.recv()).await
            } else {
                Ok(self.chores.recv().await)
            };
            match chore {
                Ok(Some(Chore::Prepare(number))) => todo.prepare = Some(number),
                Ok(Some(Chore::Remove(path))) => todo.remove.push_back(path),
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    /// Makes the segment that is wanted. Returns true if that is done.
    async fn prepare(&self, todo: &mut Todo) -> io::Result<bool> {
        let Some(number) = todo.prepare else { return Ok(true) };
        let hurry = |made| self.space.is_closed() || is_pressing(self.space.used(), made, self.sectors);
        let made = Segment::create(&*self.disk, &self.dir, self.replica, number, self.sectors, hurry);
        match made.await {
            Ok(segment) => {
                self.space.set_prepared(segment);
                todo.prepare = None;
                Ok(true)
            }
            Err(error) if skv_disk::may_pass(&error) => {
                if self.space.set_full(&error) {
                    tracing::warn!(%error, dir = %self.dir.display(), "the log's next segment can't be made; it is tried again");
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the segments that are too many. Returns true if that is done. Each removal is synced
    /// before the next: after a power failure it must be the oldest ones that are gone.
    fn remove(&self, todo: &mut Todo) -> io::Result<bool> {
        while let Some(segment) = todo.remove.front() {
            let removed = match self.disk.remove(segment) {
                // The last attempt removed the segment, but its sync failed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
            match removed.and_then(|()| self.disk.sync_dir(&self.dir)) {
                Ok(()) => _ = todo.remove.pop_front(),
                Err(error) if skv_disk::may_pass(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The tasks that are left to do.
#[derive(Debug, Default)]
struct Todo {
    /// The segment to make: the writer asks for one at a time.
    prepare: Option<u32>,
    /// The segments to remove, oldest first.
    remove: VecDeque<PathBuf>,
}

/// Returns true if a segment of which `made` sectors are made may be wanted before all are, judged by
/// the number that the active one has used. That is so in any case once the active one has used more
/// than half.
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
