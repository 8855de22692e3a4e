//! Snapshot files: nothing damaged is taken for whole, and what was kept survives.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use skv_disk::{Disk, DiskFile, MemoryDisk, RealDisk};
use skv_proto::v1;
use skv_raft::state_machine::StateMachine;
use skv_snapshot::{OpenError, SnapshotDir, SnapshotFile, SpoolError};
use skv_store::Store;

use crate::support::*;

const DIR: &str = "/snapshots";

fn new_disk() -> Arc<dyn Disk> {
    with_dir(Arc::new(MemoryDisk::new()))
}

fn with_dir(disk: Arc<MemoryDisk>) -> Arc<dyn Disk> {
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn open_dir(disk: &Arc<dyn Disk>) -> Arc<SnapshotDir> {
    Arc::new(SnapshotDir::open(Arc::clone(disk), DIR.into()).unwrap())
}

fn files(disk: &Arc<dyn Disk>) -> Vec<PathBuf> {
    disk.list(Path::new(DIR)).unwrap()
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Returns a disk with this one snapshot file.
fn disk_with(name: &str, bytes: &[u8]) -> Arc<dyn Disk> {
    let disk = new_disk();
    disk.create(&Path::new(DIR).join(name)).unwrap().write_all_at(bytes, 0).unwrap();
    disk
}

fn header(term: u64, index: u64) -> v1::SnapshotHeader {
    let last_log_id = Some(v1::LogId { term, replica: 1, index });
    v1::SnapshotHeader { last_log_id, cluster_id: 5, group_uid: 77, ..v1::SnapshotHeader::default() }
}

fn small_store() -> Store {
    let store = founded(1, v1::Limits::default());
    for (i, key) in keys_of(0, 3).iter().enumerate() {
        apply(&store, 500, by((400, 1), i as u64 + 1, 1, append(key, "some value"))).unwrap();
    }
    apply(&store, 500, by((400, 1), 4, 4, append(&keys_of(0, 1)[0], "more"))).unwrap();
    store
}

/// Returns a store that is larger than several chunks.
fn large_store() -> Store {
    let store = founded(1, v1::Limits::default());
    apply_all(&store, 500, (0..20_000).map(|i| put(&format!("key{i}"), &"v".repeat(i % 300))).collect());
    let mut key = 0;
    let commands = std::iter::repeat_with(|| {
        key += 1;
        by((400, key), 1, 1, append(&format!("key{key}"), &"v".repeat(100)))
    });
    apply_all(&store, 500, commands.take(5000).collect());
    apply(&store, 500, put(&keys_of(1, 1)[0], &"x".repeat(1 << 20))).unwrap();
    store
}

async fn write(dir: &Arc<SnapshotDir>, store: &Store, term: u64, index: u64) -> SnapshotFile {
    dir.write(header(term, index), store.view().into_items()).await.unwrap()
}

async fn snapshot_bytes(store: &Store) -> Vec<u8> {
    let disk = new_disk();
    let dir = open_dir(&disk);
    let kept = dir.keep(write(&dir, store, 3, 9).await).await.unwrap();
    read(&*disk.open(kept.path()).unwrap())
}

async fn restore(disk: &Arc<dyn Disk>) -> Result<Arc<Store>, OpenError> {
    let store = Arc::new(Store::new(77));
    StateMachine::open(Arc::clone(disk), DIR.into(), Arc::clone(&store)).await?;
    Ok(store)
}

#[tokio::test]
async fn a_snapshot_restores_what_was_written() {
    for store in [Store::new(1), founded(1, v1::Limits::default()), small_store(), large_store()] {
        let bytes = snapshot_bytes(&store).await;
        let restored = restore(&disk_with("3-9.snap", &bytes)).await.unwrap();
        assert_eq!(dump(&restored), dump(&store));
    }
}

#[tokio::test]
async fn every_flipped_byte_is_detected() {
    let bytes = snapshot_bytes(&small_store()).await;
    let disk = disk_with("3-9.snap", &bytes);
    let file = disk.open(Path::new("/snapshots/3-9.snap")).unwrap();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            file.write_all_at(&[bytes[at] ^ mask], at as u64).unwrap();
            match restore(&disk).await {
                Err(OpenError::Damaged { file, offset, .. }) => {
                    assert_eq!(file, Path::new("/snapshots/3-9.snap"));
                    assert!(
                        offset <= at as u64 || offset == bytes.len() as u64,
                        "byte {at} found at {offset}"
                    );
                }
                other => panic!("byte {at} with mask {mask:#x}: {other:?}"),
            }
        }
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
    restore(&disk).await.unwrap();
}

#[tokio::test]
async fn every_cut_and_every_byte_too_many_is_detected() {
    let bytes = snapshot_bytes(&small_store()).await;
    for length in 0..bytes.len() {
        let found = restore(&disk_with("3-9.snap", &bytes[..length])).await;
        assert!(
            matches!(found, Err(OpenError::Damaged { offset, .. }) if offset == length as u64),
            "cut to {length}: {found:?}"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    let found = restore(&disk_with("3-9.snap", &longer)).await;
    assert!(matches!(found, Err(OpenError::Damaged { offset, .. }) if offset == bytes.len() as u64));
}

#[tokio::test]
async fn a_missing_chunk_in_a_large_file_is_detected() {
    let bytes = snapshot_bytes(&large_store()).await;
    let frame = |at: usize| 16 + u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
    let first = 16 + frame(16);
    let second = first + frame(first);
    let without_second = [&bytes[..second], &bytes[second + frame(second)..]].concat();
    let found = restore(&disk_with("3-9.snap", &without_second)).await;
    assert!(matches!(found, Err(OpenError::Damaged { .. })), "{found:?}");
    // Damage is found also by a reader that doesn't look at the content of the chunks.
    let dir = open_dir(&new_disk());
    let found = spooled(&dir, without_second.len() as u64, &without_second).await;
    assert!(matches!(found, Err(SpoolError::Wrong(OpenError::Damaged { .. }))), "{found:?}");
}

#[tokio::test]
async fn another_version_is_not_damage() {
    let mut bytes = snapshot_bytes(&small_store()).await;
    bytes[8] = 2;
    let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    let found = restore(&disk_with("3-9.snap", &bytes)).await;
    assert!(matches!(found, Err(OpenError::UnsupportedVersion { found: 2, supported: 1, .. })), "{found:?}");
}

#[tokio::test]
async fn a_snapshot_under_another_name_is_damage() {
    let bytes = snapshot_bytes(&small_store()).await;
    let found = restore(&disk_with("3-10.snap", &bytes)).await;
    assert!(matches!(found, Err(OpenError::Damaged { .. })), "{found:?}");
}

#[tokio::test]
async fn only_the_newest_snapshot_is_kept() {
    let disk = new_disk();
    let dir = open_dir(&disk);
    assert!(dir.current().is_none());
    for (term, index) in [(1, 9), (2, 10), (2, 100)] {
        let kept = dir.keep(write(&dir, &small_store(), term, index).await).await.unwrap();
        assert_eq!(kept.header(), &header(term, index));
        assert_eq!(files(&disk), [kept.path()]);
    }
    // An older one comes too late.
    let kept = dir.keep(write(&dir, &small_store(), 2, 50).await).await.unwrap();
    assert_eq!(kept.header(), &header(2, 100));
    assert_eq!(files(&disk), [kept.path()]);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_removed() {
    let bytes = snapshot_bytes(&small_store()).await;
    let disk = disk_with("3-9.snap", &bytes);
    for name in ["3-8.snap", "0.tmp", "12.tmp"] {
        disk.create(&Path::new(DIR).join(name)).unwrap().write_all_at(b"half", 0).unwrap();
    }
    restore(&disk).await.unwrap();
    assert_eq!(files(&disk), [Path::new("/snapshots/3-9.snap")]);
}

#[tokio::test]
async fn a_kept_snapshot_survives_the_loss_of_power() {
    for unsynced_survives in [false, true] {
        let memory = Arc::new(MemoryDisk::new());
        let disk = with_dir(Arc::clone(&memory));
        disk.sync_dir(Path::new("/")).unwrap();
        let (dir, store) = (open_dir(&disk), small_store());
        dir.keep(write(&dir, &store, 1, 1).await).await.unwrap();
        dir.keep(write(&dir, &store, 1, 2).await).await.unwrap();
        let unfinished = write(&dir, &Store::new(1), 1, 3).await;

        let disk: Arc<dyn Disk> = Arc::new(memory.crash(|| unsynced_survives));
        drop(unfinished);
        assert_eq!(dump(&restore(&disk).await.unwrap()), dump(&store));
        assert_eq!(open_dir(&disk).current().unwrap().header(), &header(1, 2));
    }
}

#[tokio::test]
async fn a_snapshot_travels_from_one_directory_to_another() {
    let from = tempfile::tempdir().unwrap();
    let to = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
    let open = |dir: &Path| Arc::new(SnapshotDir::open(Arc::clone(&disk), dir.to_owned()).unwrap());
    let (source, target) = (open(from.path()), open(to.path()));
    let store = large_store();
    let sent = source.keep(write(&source, &store, 3, 9).await).await.unwrap();

    let mut spool = target.spool(sent.length());
    let mut chunks = sent.chunks(0);
    // Taking its place doesn't disturb a snapshot that is being sent.
    source.keep(write(&source, &store, 3, 10).await).await.unwrap();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() <= 1 << 20);
        spool.write(chunk).await.unwrap();
    }
    let received = spool.finish().await.unwrap();
    assert_eq!(received.header(), &header(3, 9));
    assert!(target.current().is_none());
    target.keep(received).await.unwrap();

    let restored = Arc::new(Store::new(2));
    StateMachine::open(Arc::clone(&disk), to.path().to_owned(), Arc::clone(&restored)).await.unwrap();
    assert_eq!(dump(&restored), dump(&store));
}

async fn spooled(dir: &SnapshotDir, announced: u64, bytes: &[u8]) -> Result<SnapshotFile, SpoolError> {
    let mut spool = dir.spool(announced);
    for chunk in bytes.chunks(100) {
        spool.write(Bytes::copy_from_slice(chunk)).await?;
    }
    spool.finish().await
}

#[tokio::test]
async fn a_snapshot_that_arrives_wrong_is_refused_and_removed() {
    let bytes = snapshot_bytes(&small_store()).await;
    let length = bytes.len() as u64;
    let disk = new_disk();
    let dir = open_dir(&disk);

    for announced in [length - 1, length + 1] {
        let found = spooled(&dir, announced, &bytes).await;
        assert!(matches!(found, Err(SpoolError::Length { .. })), "{found:?}");
    }
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let found = spooled(&dir, length, &flipped).await;
    assert!(matches!(found, Err(SpoolError::Wrong(OpenError::Damaged { .. }))), "{found:?}");
    assert!(files(&disk).is_empty());

    let received = spooled(&dir, length, &bytes).await.unwrap();
    assert_eq!(files(&disk).len(), 1);
    drop(received);
    assert!(files(&disk).is_empty());
}

#[tokio::test]
async fn an_abandoned_spool_leaves_nothing() {
    let disk = new_disk();
    let dir = open_dir(&disk);
    let mut spool = dir.spool(100);
    spool.write(Bytes::from_static(b"half")).await.unwrap();
    while files(&disk).is_empty() {
        tokio::task::yield_now().await;
    }
    drop(spool);
    while !files(&disk).is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_left_on_it() {
    let memory = Arc::new(MemoryDisk::new());
    let disk = with_dir(Arc::clone(&memory));
    let dir = open_dir(&disk);
    let bytes = snapshot_bytes(&small_store()).await;
    memory.set_capacity(Some(200));

    let error = dir.write(header(1, 1), small_store().view().into_items()).await.unwrap_err();
    assert!(skv_disk::is_full(&error), "{error}");
    match spooled(&dir, bytes.len() as u64, &bytes).await {
        Err(SpoolError::Io(error)) => assert!(skv_disk::is_full(&error), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(files(&disk).is_empty());
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_kept_now_can_be_kept_later() {
    let memory = Arc::new(MemoryDisk::new());
    let disk = with_dir(Arc::clone(&memory));
    memory.sync_dir(Path::new("/")).unwrap();
    let dir = open_dir(&disk);
    let before = dir.keep(write(&dir, &small_store(), 1, 1).await).await.unwrap();
    let next = write(&dir, &small_store(), 1, 2).await;
    memory.set_open_error(Some(rustix::io::Errno::MFILE));
    let error = dir.keep(next.clone()).await.unwrap_err();
    assert!(skv_disk::may_pass(&error), "{error}");
    assert_eq!(dir.current().unwrap().path(), before.path());

    memory.set_open_error(None);
    let kept = dir.keep(next).await.unwrap();
    assert_eq!(files(&disk), [kept.path()]);
    assert_eq!(open_dir(&(Arc::new(memory.crash(|| false)) as _)).current().unwrap().header(), kept.header());
}

#[tokio::test]
async fn nothing_is_kept_in_a_closed_directory() {
    let disk = new_disk();
    let dir = open_dir(&disk);
    let late = write(&dir, &small_store(), 1, 1).await;
    dir.close();
    let refused: io::Result<_> = dir.keep(late).await;
    assert!(refused.is_err());
    assert!(files(&disk).is_empty());
}
