use std::sync::mpsc::channel;
use std::sync::{OnceLock, Weak};
use std::thread;
use std::time::Duration;

use futures::future::BoxFuture;
use skv_disk::{DiskFile, MemoryDisk};

use super::*;

/// The time within which an answer comes that doesn't wait for the disk.
const LONG: Duration = Duration::from_secs(10);

/// A disk that changes no name before another thread has asked for the newest snapshot.
#[derive(Debug, Default)]
struct AskingDisk {
    disk: MemoryDisk,
    /// The directory that is asked, once it is open.
    dir: OnceLock<Weak<SnapshotDir>>,
    /// True for each question that was answered.
    answered: Mutex<Vec<bool>>,
}

impl AskingDisk {
    fn ask(&self) {
        let Some(dir) = self.dir.get().and_then(Weak::upgrade) else { return };
        let (answer, answers) = channel();
        thread::spawn(move || answer.send(dir.current().is_some()));
        self.answered.lock().push(answers.recv_timeout(LONG).is_ok());
    }
}

impl Disk for AskingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask();
        self.disk.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask();
        self.disk.sync_dir(dir)
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.disk.spawn(name, task);
    }

    fn lower_priority(&self) {
        self.disk.lower_priority();
    }
}

#[tokio::test]
async fn whoever_asks_for_the_newest_does_not_wait_for_the_disk() {
    let disk = Arc::new(AskingDisk::default());
    let dir = Arc::new(SnapshotDir::open(disk.clone(), "/s".into()).unwrap());
    disk.dir.set(Arc::downgrade(&dir)).unwrap();
    for index in 1..3 {
        let last_log_id = Some(v1::LogId { term: 1, replica: 1, index });
        let header = v1::SnapshotHeader { last_log_id, ..v1::SnapshotHeader::default() };
        let written = dir.write(header, std::iter::empty()).await.unwrap();
        dir.keep(written).await.unwrap();
    }
    // Both get their names, which are synced, and the first one goes.
    assert_eq!(*disk.answered.lock(), [true; 5]);
}
