//! A full disk is a refusal that passes; so is one that opens no file.

use rustix::io::Errno;
use skv_disk::{Disk as _, MemoryDisk};
use skv_log::{Log, SpaceError, Vote};

use crate::support::{append, close, dir, entry, formatted, id, open, options, read_all, until};

const SECTORS: u32 = 32;

/// Returns a disk that has room for the log as it is and not for one more segment.
async fn full() -> (MemoryDisk, Log) {
    let disk = formatted(&options(SECTORS)).await;
    disk.set_capacity(Some(disk.used()));
    let (log, _) = open(&disk).await.unwrap();
    until(|| log.space().is_full()).await;
    (disk, log)
}

/// Appends until there is no room. Returns the number of entries.
async fn fill(log: &Log, from: u64) -> u64 {
    for index in from.. {
        match log.space().reserve(400).await {
            Ok(room) => {
                append(log, vec![entry(1, index, 400)]).await.unwrap();
                drop(room);
            }
            Err(SpaceError::DiskFull | SpaceError::NoFile(_)) => return index,
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("the disk never filled up")
}

/// Mends the disk: a log of `written` entries then says so, takes another one, and keeps all.
async fn takes_one_more(disk: &MemoryDisk, log: Log, written: u64, mend: impl FnOnce()) {
    let mut changes = log.space().watch_full();
    mend();
    changes.wait_for(|full| !full).await.unwrap();
    let room = log.space().reserve(400).await.unwrap();
    append(&log, vec![entry(1, written, 400)]).await.unwrap();
    drop(room);
    close(log).await;
    let (log, _) = open(disk).await.unwrap();
    assert_eq!(read_all(&log).await.len() as u64, written + 1);
}

#[tokio::test]
async fn a_full_disk_is_told_before_anything_is_written_and_passes_by_itself() {
    let (disk, log) = full().await;
    let written = fill(&log, 0).await;
    assert!(written > 5, "only {written} entries fit");
    assert!(matches!(log.space().reserve(1).await, Err(SpaceError::DiskFull)));
    assert_eq!(read_all(&log).await.len() as u64, written, "reads go on");

    takes_one_more(&disk, log, written, || disk.set_capacity(None)).await;
}

#[tokio::test]
async fn on_a_full_disk_votes_and_what_opens_a_term_still_find_room() {
    let (_disk, log) = full().await;
    let mut next = fill(&log, 0).await;
    for term in 2..5 {
        log.save_vote(Vote { term, candidate: 1, committed: true }).await.unwrap();
        log.truncate_after(Some(next - 2)).await.unwrap();
        append(&log, vec![entry(term, next - 1, 0), entry(term, next, 0)]).await.unwrap();
        next += 1;
    }
    log.purge(id(1, 0)).unwrap();
    log.save_vote(Vote { term: 9, candidate: 1, committed: false }).await.unwrap();
}

#[tokio::test]
async fn purging_makes_room_on_a_full_disk() {
    let disk = formatted(&options(SECTORS)).await;
    disk.set_capacity(Some(disk.used() + 2 * u64::from(SECTORS) * 512));
    let (log, _) = open(&disk).await.unwrap();
    let mut next = 0;
    for _ in 0..5 {
        next = fill(&log, next).await;
        log.purge(id(1, next - 1)).unwrap();
        let mut changes = log.space().watch_full();
        changes.wait_for(|full| !full).await.unwrap();
    }
    assert!(next > 5 * 20, "only {next} entries were written");
}

#[tokio::test]
async fn a_segment_that_cannot_be_made_is_told_before_anything_is_written_and_passes_by_itself() {
    for error in [Errno::MFILE, Errno::NFILE, Errno::IO] {
        let disk = formatted(&options(SECTORS)).await;
        let (log, _) = open(&disk).await.unwrap();
        // This much fits only into the next segment: it is there.
        drop(log.space().reserve(log.space().max_entry_bytes()).await.unwrap());
        disk.set_open_error(Some(error));
        let written = fill(&log, 0).await;
        match log.space().reserve(1).await {
            Err(refused @ SpaceError::NoFile(_)) => assert!(refused.to_string().contains(&error.to_string())),
            other => panic!("{other:?}"),
        }
        assert_eq!(read_all(&log).await.len() as u64, written, "reads go on");

        takes_one_more(&disk, log, written, || disk.set_open_error(None)).await;
    }
}

#[tokio::test]
async fn segments_whose_removal_fails_are_removed_later() {
    let disk = formatted(&options(SECTORS)).await;
    let (log, _) = open(&disk).await.unwrap();
    let exists = |number| disk.exists(&dir().join(format!("{number:08}.seg"))).unwrap();
    let mut next = 0;
    let mut append_one = async || {
        let room = log.space().reserve(400).await.unwrap();
        append(&log, vec![entry(1, next, 400)]).await.unwrap();
        drop(room);
        next += 1;
        next - 1
    };
    let mut last = 0;
    while !exists(4) {
        last = append_one().await;
    }
    disk.set_open_error(Some(Errno::MFILE));
    log.purge(id(1, last)).unwrap();
    until(|| !exists(1)).await;
    assert!(exists(2), "a removal that isn't durable yet is followed by none");
    disk.set_open_error(None);
    last = append_one().await;
    until(|| !exists(2)).await;

    close(log).await;
    let (log, _) = open(&disk.crash(|| false)).await.unwrap();
    assert_eq!(log.last(), Some(id(1, last)));
}

#[tokio::test]
async fn all_that_is_promised_can_be_written_in_any_order() {
    let (disk, log) = full().await;
    let space = log.space();
    let mut promised = Vec::new();
    let sizes = [3000, 10, 1500, 480, 900].into_iter().cycle();
    for size in sizes {
        match space.reserve(size).await {
            Ok(room) => promised.push((size, room)),
            Err(_) => break,
        }
    }
    assert!(promised.len() > 3);
    disk.set_sync_error(None);
    for (index, (size, room)) in promised.into_iter().rev().enumerate() {
        append(&log, vec![entry(1, index as u64, size)]).await.unwrap();
        drop(room);
    }
}

/// A follower gets many small entries in one request, and promises room for all of them at once.
#[tokio::test]
async fn entries_that_come_together_have_room_for_their_headers() {
    const TOGETHER: usize = 20;
    let (_disk, log) = full().await;
    let bytes = skv_log::together([10; TOGETHER]);
    let mut promised = Vec::new();
    while let Ok(room) = log.space().reserve(bytes).await {
        promised.push(room);
    }
    assert!(promised.len() > 3);
    let mut index = 0;
    let mut written = Vec::new();
    for _ in 0..promised.len() {
        let entries = (index..index + TOGETHER as u64).map(|index| entry(1, index, 10)).collect();
        index += TOGETHER as u64;
        let (done, durable) = tokio::sync::oneshot::channel();
        log.append(entries, Box::new(|result| drop(done.send(result)))).unwrap();
        written.push(durable);
    }
    for durable in written {
        let durable = tokio::time::timeout(std::time::Duration::from_secs(10), durable).await;
        durable.expect("what is promised fits").unwrap().unwrap();
    }
    assert_eq!(skv_log::together([]), 0);
    assert_eq!(skv_log::together([7]), 7);
}

/// A leader whose disk hangs gives up waiting for its entries, and a follower's stream may break.
#[tokio::test]
async fn room_that_nobody_holds_any_more_is_kept_until_its_entry_is_written() {
    let (disk, log) = full().await;
    disk.hold_syncs();
    let mut written = Vec::new();
    for index in 0..200 {
        let Ok(room) = log.space().reserve(400).await else { break };
        let (done, durable) = tokio::sync::oneshot::channel();
        log.append(vec![entry(1, index, 400)], Box::new(|result| drop(done.send(result)))).unwrap();
        drop(room);
        written.push(durable);
    }
    disk.let_sync(1 << 20);
    let count = written.len();
    for durable in written {
        let durable = tokio::time::timeout(std::time::Duration::from_secs(10), durable).await;
        durable.expect("what is promised fits").unwrap().unwrap();
    }
    disk.set_capacity(None);
    let mut changes = log.space().watch_full();
    changes.wait_for(|full| !full).await.unwrap();
    let mut again = Vec::new();
    for _ in 0..count {
        let room = tokio::time::timeout(std::time::Duration::from_secs(10), log.space().reserve(400)).await;
        again.push(room.expect("it was all given back").unwrap());
    }
}

#[tokio::test]
async fn a_promise_waits_for_the_next_segment_and_for_other_promises() {
    let disk = formatted(&options(SECTORS)).await;
    let (log, _) = open(&disk).await.unwrap();
    let space = log.space();
    let largest = space.max_entry_bytes();
    let first = space.reserve(largest).await.unwrap();
    let second = tokio::spawn({
        let space = space.clone();
        async move { space.reserve(largest).await }
    });
    until(|| !space.is_full()).await;
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    append(&log, vec![entry(1, 0, largest)]).await.unwrap();
    drop(first);
    let _second = second.await.unwrap().unwrap();
    append(&log, vec![entry(1, 1, largest)]).await.unwrap();
}

#[tokio::test]
async fn what_can_never_be_written_is_refused() {
    let disk = formatted(&options(SECTORS)).await;
    let (log, _) = open(&disk).await.unwrap();
    let largest = log.space().max_entry_bytes();
    let error = log.space().reserve(largest + 1).await.unwrap_err();
    assert!(matches!(error, SpaceError::TooLarge { .. }), "{error}");
    assert!(append(&log, vec![entry(1, 0, largest + 1)]).await.is_err());
    append(&log, vec![entry(1, 0, largest)]).await.unwrap();
}

#[tokio::test]
async fn a_usual_segment_takes_large_entries() {
    let disk = formatted(&skv_log::Options::default()).await;
    let (log, _) = open(&disk).await.unwrap();
    assert!(log.space().max_entry_bytes() >= 4 << 20);
}

#[tokio::test]
async fn a_log_on_a_full_disk_can_be_closed() {
    let (_disk, log) = full().await;
    for index in 0..40 {
        log.append(vec![entry(1, index, 400)], Box::new(|_| {})).unwrap();
    }
    close(log).await;
}
