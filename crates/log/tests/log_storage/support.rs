//! A log on a disk in memory, and short ways to use it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use skv_disk::{Disk, MemoryDisk};
use skv_log::{Entry, Log, LogId, OpenError, Options, Recovered};
use tokio::sync::oneshot;

pub(crate) const REPLICA: u64 = 7;

pub(crate) fn dir() -> &'static Path {
    Path::new("/log")
}

/// Returns options with short segments, so that a test sees many.
pub(crate) fn options(sectors: u32) -> Options {
    Options { segment_bytes: sectors * 512, cache_bytes: 0, ..Options::default() }
}

pub(crate) fn shared(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Returns a disk with an empty log.
pub(crate) async fn formatted(options: &Options) -> MemoryDisk {
    let disk = MemoryDisk::new();
    Log::format(&shared(&disk), dir(), REPLICA, options).await.unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

pub(crate) async fn open(disk: &MemoryDisk) -> Result<(Log, Recovered), OpenError> {
    Log::open(shared(disk), dir(), &options(0)).await
}

/// Drops a log and waits until its files are at rest.
pub(crate) async fn close(log: Log) {
    let finished = log.finished();
    drop(log);
    finished.wait().await;
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId { term, leader: 3, index }
}

pub(crate) fn entry(term: u64, index: u64, len: usize) -> Entry {
    let payload = Bytes::from(vec![index as u8; len]);
    Entry { id: id(term, index), kind: 1, payload }
}

/// Appends, and returns when the entries are durable.
pub(crate) async fn append(log: &Log, entries: Vec<Entry>) -> io::Result<()> {
    let (done, durable) = oneshot::channel();
    log.append(entries, Box::new(|result| drop(done.send(result))))?;
    durable.await.unwrap()
}

pub(crate) async fn read_all(log: &Log) -> Vec<Entry> {
    log.reader().read(0..u64::MAX, usize::MAX).await.unwrap()
}

/// Returns every file of the log, in order.
pub(crate) fn files(disk: &MemoryDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let file = disk.open(&path).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (path, bytes)
    };
    disk.list(dir()).unwrap().into_iter().map(read).collect()
}

/// Returns a disk with these files and nothing else.
pub(crate) fn disk_with(files: &[(PathBuf, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(dir()).unwrap();
    for (path, bytes) in files {
        disk.create(path).unwrap().write_all_at(bytes, 0).unwrap();
    }
    disk
}

/// Waits until a condition holds, while the tasks that make it hold run.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
