//! Snapshots whose transfer was interrupted, and directories that somebody removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use skv_disk::{Disk, MemoryDisk};
use skv_proto::v1;
use skv_raft::state_machine::StateMachine;
use skv_snapshot::{Fingerprint, OpenError, SnapshotDir, SnapshotFile, SpoolError};
use skv_store::Store;

use crate::support::*;

const DIR: &str = "/s";

fn open(disk: &MemoryDisk) -> Arc<SnapshotDir> {
    Arc::new(SnapshotDir::open(Arc::new(disk.clone()), DIR.into()).unwrap())
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.list(Path::new(DIR)).unwrap()
}

/// Returns a store whose snapshot has some chunks.
fn store() -> Store {
    let store = founded(1, v1::Limits::default());
    apply_all(&store, 500, (0..4000).map(|i| put(&format!("key{i}"), &"v".repeat(1000))).collect());
    store
}

/// Returns the snapshot of a leader up to an entry.
async fn sent(index: u64) -> SnapshotFile {
    let dir = open(&MemoryDisk::new());
    let header = v1::SnapshotHeader {
        last_log_id: Some(v1::LogId { term: 1, replica: 1, index }),
        ..v1::SnapshotHeader::default()
    };
    dir.write(header, store().view().into_items()).await.unwrap()
}

/// Returns all bytes of a snapshot from this one on.
async fn bytes_of(snapshot: &SnapshotFile, from: u64) -> Vec<u8> {
    let chunks: Vec<_> = snapshot.chunks(from).collect().await;
    chunks.into_iter().flat_map(Result::unwrap).collect()
}

/// Receives the bytes of a snapshot that lie between these two, and then no more.
async fn receive(
    dir: &SnapshotDir,
    snapshot: &SnapshotFile,
    from: u64,
    to: u64,
) -> Result<SnapshotFile, SpoolError> {
    let bytes = bytes_of(snapshot, from).await;
    let mut spool = dir.resume(snapshot.fingerprint(), from);
    for chunk in bytes[..(to - from) as usize].chunks(100_000) {
        spool.write(Bytes::copy_from_slice(chunk)).await?;
    }
    spool.finish().await
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_was_interrupted() {
    let (disk, snapshot) = (MemoryDisk::new(), sent(9).await);
    let (dir, print) = (open(&disk), snapshot.fingerprint());
    assert_eq!(dir.held(print).await.unwrap(), 0);
    let mut held = 0;
    for share in 1..4 {
        let to = snapshot.length() * share / 4;
        let interrupted = receive(&dir, &snapshot, held, to).await;
        assert!(matches!(interrupted, Err(SpoolError::Length { received, .. }) if received == to));
        assert_eq!(files(&disk).len(), 1, "what came is kept");
        held = dir.held(print).await.unwrap();
        assert_eq!(held, to);
    }
    let received = receive(&dir, &snapshot, held, snapshot.length()).await.unwrap();
    assert_eq!(bytes_of(&received, 0).await, bytes_of(&snapshot, 0).await);
    let kept = dir.keep(received).await.unwrap();
    assert_eq!(files(&disk), [kept.path()]);
}

#[tokio::test]
async fn a_transfer_goes_on_after_a_loss_of_power() {
    for unsynced_survives in [true, false] {
        let (disk, snapshot) = (MemoryDisk::new(), sent(9).await);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let half = snapshot.length() / 2;
        receive(&open(&disk), &snapshot, 0, half).await.unwrap_err();

        // The name of the file may be lost with the power.
        disk.sync_dir(Path::new(DIR)).unwrap();
        let disk = disk.crash(|| unsynced_survives);
        let dir = open(&disk);
        let held = dir.held(snapshot.fingerprint()).await.unwrap();
        assert!(held > 0 && held <= half, "{held} of {half}");
        let received = receive(&dir, &snapshot, held, snapshot.length()).await.unwrap();
        assert_eq!(bytes_of(&received, 0).await, bytes_of(&snapshot, 0).await);
    }
}

#[tokio::test]
async fn whoever_sends_again_ends_the_transfer_before() {
    let (disk, snapshot) = (MemoryDisk::new(), sent(9).await);
    let dir = open(&disk);
    let first = bytes_of(&snapshot, 0).await[..1000].to_vec();
    let mut hanging = dir.resume(snapshot.fingerprint(), 0);
    hanging.write(first.into()).await.unwrap();
    // The chunk is taken before the next turn comes.
    while files(&disk).is_empty() {
        tokio::task::yield_now().await;
    }
    let held = dir.held(snapshot.fingerprint()).await.unwrap();
    assert!(held == 0 || held == 1000, "{held}");
    assert!(matches!(hanging.finish().await, Err(SpoolError::Length { .. })));
    receive(&dir, &snapshot, held, snapshot.length()).await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_another_snapshot_goes() {
    let (disk, snapshot, newer) = (MemoryDisk::new(), sent(9).await, sent(10).await);
    let dir = open(&disk);
    receive(&dir, &snapshot, 0, 1000).await.unwrap_err();
    assert_eq!(dir.held(newer.fingerprint()).await.unwrap(), 0);
    let refused = receive(&dir, &newer, 1000, newer.length()).await;
    assert!(matches!(refused, Err(SpoolError::NothingLeft(1000))), "{refused:?}");
    receive(&dir, &newer, 0, 1000).await.unwrap_err();
    assert_eq!(dir.held(snapshot.fingerprint()).await.unwrap(), 0);
    assert_eq!(files(&disk).len(), 1);

    // One that the newest snapshot covers isn't wanted any more.
    let own = dir.write(newer.header().clone(), store().view().into_items()).await.unwrap();
    let kept = dir.keep(own).await.unwrap();
    drop(dir);
    open(&disk);
    assert_eq!(files(&disk), [kept.path()]);
}

#[tokio::test]
async fn bytes_that_changed_meanwhile_are_noticed_and_nothing_is_left() {
    let (disk, snapshot) = (MemoryDisk::new(), sent(9).await);
    let dir = open(&disk);
    let half = snapshot.length() / 2;
    receive(&dir, &snapshot, 0, half).await.unwrap_err();
    disk.open(&files(&disk)[0]).unwrap().write_all_at(b"x", half / 2).unwrap();
    let wrong = receive(&dir, &snapshot, half, snapshot.length()).await;
    assert!(matches!(wrong, Err(SpoolError::Wrong(OpenError::Damaged { .. }))), "{wrong:?}");
    assert!(files(&disk).is_empty());
    assert_eq!(dir.held(snapshot.fingerprint()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_missing_directory_is_made_again() {
    let disk = MemoryDisk::new();
    let opened = StateMachine::open(Arc::new(disk.clone()), DIR.into(), Arc::new(Store::new(1))).await;
    assert_eq!(opened.unwrap().covered(), None);

    let dir = open(&disk);
    let snapshot = sent(1).await;
    let kept = dir.keep(receive(&dir, &snapshot, 0, snapshot.length()).await.unwrap()).await.unwrap();
    disk.remove_dir_all(Path::new(DIR)).unwrap();
    assert_eq!(dir.current().unwrap().path(), kept.path(), "it can still be sent");
    let written = dir.write(sent(2).await.header().clone(), store().view().into_items()).await.unwrap();
    dir.keep(written).await.unwrap();

    disk.remove_dir_all(Path::new(DIR)).unwrap();
    let snapshot = sent(3).await;
    let received = receive(&dir, &snapshot, 0, snapshot.length()).await.unwrap();
    disk.remove_dir_all(Path::new(DIR)).unwrap();
    let kept = dir.keep(received).await.unwrap();
    assert_eq!(files(&disk), [kept.path()], "it was copied");
    drop(dir);
    let current = open(&disk.crash(|| true)).current().unwrap();
    assert_eq!(current.fingerprint(), Fingerprint { index: 3, ..snapshot.fingerprint() });
}
