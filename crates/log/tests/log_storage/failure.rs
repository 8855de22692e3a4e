//! A failure is final, and no callback for a later entry comes before an earlier one is durable.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_disk::{Disk as _, MemoryDisk};
use skv_log::{Log, SpaceError, Vote};

use crate::support::{append, close, dir, entry, formatted, id, open, options, read_all, until};

async fn log() -> (MemoryDisk, Log) {
    let disk = formatted(&options(64)).await;
    let (log, _) = open(&disk).await.unwrap();
    // With the next segment there, the only syncs are those that a test asks for.
    until(|| disk.exists(&dir().join("00000002.seg")).unwrap()).await;
    (disk, log)
}

/// Appends single entries and notes which callbacks are called, in order.
fn append_noting(log: &Log, indexes: std::ops::Range<u64>) -> Arc<Mutex<Vec<(u64, bool)>>> {
    let called = Arc::new(Mutex::new(Vec::new()));
    for index in indexes {
        let called = called.clone();
        let done = move |result: io::Result<()>| called.lock().push((index, result.is_ok()));
        log.append(vec![entry(1, index, 10)], Box::new(done)).unwrap();
    }
    called
}

#[tokio::test]
async fn what_is_queued_meanwhile_is_synced_together_and_told_newest_first() {
    let (disk, log) = log().await;
    disk.hold_syncs();
    let first = append_noting(&log, 0..1);
    tokio::task::yield_now().await;
    let called = append_noting(&log, 1..5);
    assert_eq!(read_all(&log).await.len(), 5, "readable before they are durable");
    disk.let_sync(1);
    until(|| !first.lock().is_empty()).await;
    assert_eq!(*called.lock(), [], "nothing is told before its sync");
    disk.let_sync(1);
    until(|| called.lock().len() == 4).await;
    assert_eq!(*called.lock(), [(4, true), (3, true), (2, true), (1, true)]);
}

#[tokio::test]
async fn a_vote_is_saved_after_what_was_appended_before_it() {
    let (disk, log) = log().await;
    let called = append_noting(&log, 0..3);
    log.save_vote(Vote { term: 1, candidate: 2, committed: false }).await.unwrap();
    assert_eq!(called.lock().len(), 3);
    let (log, _) = open(&disk.crash(|| false)).await.unwrap();
    assert_eq!((log.vote().map(|v| v.term), log.last()), (Some(1), Some(id(1, 2))));
}

#[tokio::test]
async fn a_failed_sync_fails_everything_after_it_too() {
    let (disk, log) = log().await;
    append(&log, vec![entry(1, 0, 10)]).await.unwrap();
    disk.set_sync_error(Some(io::ErrorKind::Other));
    let called = append_noting(&log, 1..4);
    until(|| called.lock().len() == 3).await;
    assert!(called.lock().iter().all(|(_, ok)| !ok));

    disk.set_sync_error(None);
    assert!(append(&log, vec![entry(1, 4, 10)]).await.is_err(), "what is on disk is unknown");
    assert!(log.truncate_after(None).await.is_err());
    assert!(log.purge(id(1, 0)).is_err());
    assert!(log.save_committed(Some(id(1, 0))).is_err());
    assert!(log.save_vote(Vote { term: 1, candidate: 2, committed: false }).await.is_err());
    assert!(matches!(log.space().reserve(1).await, Err(SpaceError::Stopped(_))));

    close(log).await;
    let (log, _) = open(&disk.crash(|| false)).await.unwrap();
    assert_eq!(log.last(), Some(id(1, 0)), "what was acknowledged is there");
}

#[tokio::test]
async fn a_failed_vote_fails_the_log() {
    let (disk, log) = log().await;
    disk.set_sync_error(Some(io::ErrorKind::Other));
    assert!(log.save_vote(Vote { term: 1, candidate: 2, committed: false }).await.is_err());
    disk.set_sync_error(None);
    assert!(append(&log, vec![entry(1, 0, 10)]).await.is_err());
    assert_eq!(log.vote(), None);
}

#[tokio::test]
async fn the_last_commit_is_noted_when_a_log_is_closed() {
    let (disk, log) = log().await;
    append(&log, vec![entry(1, 0, 10), entry(1, 1, 10)]).await.unwrap();
    log.save_committed(Some(id(1, 1))).unwrap();
    close(log).await;
    let (log, _) = open(&disk).await.unwrap();
    assert_eq!(log.committed(), Some(id(1, 1)));
}

#[tokio::test]
async fn a_commit_is_not_noted_before_its_entry() {
    let (disk, log) = log().await;
    log.save_committed(Some(id(1, 1))).unwrap();
    append(&log, vec![entry(1, 0, 10)]).await.unwrap();
    let (log, _) = open(&disk.crash(|| false)).await.unwrap();
    assert_eq!((log.last(), log.committed()), (Some(id(1, 0)), None));
}

#[tokio::test]
async fn entries_out_of_order_are_refused() {
    let (_disk, log) = log().await;
    append(&log, vec![entry(1, 5, 1)]).await.unwrap();
    for index in [4, 5, 7] {
        assert!(append(&log, vec![entry(1, index, 1)]).await.is_err(), "{index}");
    }
    append(&log, vec![entry(1, 6, 1)]).await.unwrap();
}
