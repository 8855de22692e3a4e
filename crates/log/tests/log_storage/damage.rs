//! Damage is never taken for an unfinished write: every wrong byte, every cut, every
//! missing or misplaced file is found, and named.

use std::path::{Path, PathBuf};

use skv_disk::{Disk as _, MemoryDisk};
use skv_log::{Damage, OpenError, Vote};

use crate::support::{append, close, dir, disk_with, entry, files, formatted, id, open, options, read_all};

type Files = Vec<(PathBuf, Vec<u8>)>;

/// A log of several segments with everything in it: entries short and long, a truncation,
/// a purge that removed the first segment, a commit, votes, a segment that was prepared.
async fn small_log() -> Files {
    let disk = formatted(&options(16)).await;
    let (log, _) = open(&disk).await.unwrap();
    log.save_vote(Vote { term: 1, candidate: 3, committed: false }).await.unwrap();
    for index in 0..4 {
        append(&log, vec![entry(1, index, 700)]).await.unwrap();
    }
    append(&log, vec![entry(1, 4, 0), entry(1, 5, 1), entry(1, 6, 2500)]).await.unwrap();
    log.truncate_after(Some(4)).await.unwrap();
    log.save_vote(Vote { term: 2, candidate: 4, committed: true }).await.unwrap();
    for index in 5..12 {
        append(&log, vec![entry(2, index, 600)]).await.unwrap();
    }
    log.save_committed(Some(id(2, 10))).unwrap();
    log.purge(id(2, 5)).unwrap();
    append(&log, vec![entry(2, 12, 600)]).await.unwrap();
    let first = dir().join("00000001.seg");
    crate::support::until(|| !disk.exists(&first).unwrap()).await;
    let space = log.space();
    drop(space.reserve(2000).await.unwrap());
    close(log).await;
    let files = files(&disk);
    assert!(files.len() > 3, "too little to damage: {:?}", names(&files));
    files
}

fn names(files: &Files) -> Vec<String> {
    files.iter().map(|(path, _)| path.display().to_string()).collect()
}

async fn damage_of(disk: &MemoryDisk, what: &str) -> Damage {
    match open(disk).await {
        Err(OpenError::Damaged(damage)) => damage,
        Err(other) => panic!("{what}: {other}"),
        Ok((_, recovered)) => panic!("{what} was not noticed: {recovered:?}"),
    }
}

#[tokio::test]
async fn every_wrong_byte_is_found_where_it_is() {
    let files = small_log().await;
    let disk = disk_with(&files);
    for (path, bytes) in &files {
        let file = disk.open(path).unwrap();
        for (at, &byte) in bytes.iter().enumerate() {
            for mask in [0x01, 0x80, 0xff] {
                file.write_all_at(&[byte ^ mask], at as u64).unwrap();
                let damage = damage_of(&disk, &format!("{} byte {at} ^ {mask:#x}", path.display())).await;
                assert_eq!(damage.file, *path, "{damage}");
                let same_sector = damage.offset / 512 == at as u64 / 512;
                assert!(same_sector, "byte {at} of {} is wrong: {damage}", path.display());
            }
            file.write_all_at(&[byte], at as u64).unwrap();
        }
    }
    open(&disk).await.unwrap();
}

#[tokio::test]
async fn a_byte_that_makes_a_sector_all_zeros_or_starts_one_is_found() {
    let files = small_log().await;
    let disk = disk_with(&files);
    for (path, bytes) in &files {
        let file = disk.open(path).unwrap();
        for (at, &byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            file.write_all_at(&[0], at as u64).unwrap();
            let damage = damage_of(&disk, &format!("{} byte {at} zeroed", path.display())).await;
            assert_eq!(damage.file, *path, "{damage}");
            file.write_all_at(&[byte], at as u64).unwrap();
        }
    }
}

#[tokio::test]
async fn every_cut_is_found() {
    let files = small_log().await;
    for victim in 0..files.len() {
        for len in 0..files[victim].1.len() {
            let mut files = files.clone();
            files[victim].1.truncate(len);
            let damage = damage_of(&disk_with(&files), &format!("cut to {len}")).await;
            assert_eq!((damage.file, damage.offset), (files[victim].0.clone(), len as u64));
        }
    }
}

#[tokio::test]
async fn a_file_that_is_too_long_is_found() {
    let files = small_log().await;
    for victim in 0..files.len() {
        let mut files = files.clone();
        let len = files[victim].1.len() as u64;
        files[victim].1.push(0);
        let damage = damage_of(&disk_with(&files), "one byte more").await;
        assert_eq!((damage.file, damage.offset), (files[victim].0.clone(), len));
    }
}

#[tokio::test]
async fn every_missing_file_is_found_but_the_one_that_was_only_prepared() {
    let files = small_log().await;
    let prepared = files.len() - 2;
    assert!(files[prepared].1[512..].iter().all(|&b| b == 0), "{:?}", names(&files));
    for victim in 0..files.len() {
        let mut files = files.clone();
        let (path, _) = files.remove(victim);
        let disk = disk_with(&files);
        if victim == prepared {
            open(&disk).await.unwrap();
        } else {
            let damage = damage_of(&disk, &format!("{} is missing", path.display())).await;
            assert!(victim == 0 || damage.file == path, "{damage}");
        }
    }
    damage_of(&disk_with(&[]), "an empty directory").await;
}

#[tokio::test]
async fn a_log_whose_last_segments_are_missing_is_found() {
    let mut files = small_log().await;
    let vote = files.pop().unwrap();
    files.truncate(files.len() - 2);
    let next = Path::new("/log/00000003.seg");
    assert_eq!(files.last().unwrap().0, Path::new("/log/00000002.seg"));
    files.push(vote);
    let damage = damage_of(&disk_with(&files), "only an ended segment").await;
    assert_eq!((damage.file.as_path(), damage.offset), (next, 0));
}

#[tokio::test]
async fn a_lost_batch_in_the_middle_is_found_even_if_all_its_sectors_are_empty() {
    let files = small_log().await;
    // The last sector in use belongs to the last batch, which may pass for torn. All others may not.
    let used: Vec<(usize, usize)> = files
        .iter()
        .enumerate()
        .filter(|(_, (path, _))| path.extension().is_some())
        .flat_map(|(f, (_, bytes))| (0..bytes.len() / 512).map(move |s| (f, s)))
        .filter(|&(f, s)| files[f].1[s * 512..][..512].iter().any(|&b| b != 0))
        .collect();
    let last_file = files.len() - 3;
    for &(f, s) in &used {
        let mut files = files.clone();
        files[f].1[s * 512..][..512].fill(0);
        let disk = disk_with(&files);
        match open(&disk).await {
            Err(OpenError::Damaged(damage)) if f != last_file => {
                assert_eq!(damage.file, files[f].0, "{damage}");
            }
            Err(OpenError::Damaged(_)) => {}
            Err(other) => panic!("{other}"),
            Ok((log, recovered)) => {
                assert_eq!(f, last_file, "sector {s} of {} was lost: {recovered:?}", files[f].0.display());
                let last = log.last().unwrap().index;
                assert!(last >= 11, "more than the last batch was dropped: {last} is the last entry");
            }
        }
    }
}

#[tokio::test]
async fn segments_of_another_log_are_refused() {
    let (ours, theirs) = (small_log().await, small_log().await);
    for victim in 0..ours.len() - 1 {
        let mut mixed = ours.clone();
        assert_eq!(mixed[victim].0, theirs[victim].0);
        mixed[victim].1.clone_from(&theirs[victim].1);
        let result = open(&disk_with(&mixed)).await;
        // The one that was only prepared is as good as any.
        assert!(result.is_err() || victim == ours.len() - 2, "{} was taken", mixed[victim].0.display());
    }
}

#[tokio::test]
async fn a_newer_version_is_not_damage() {
    let files = small_log().await;
    for (victim, slots) in [(0, &[0][..]), (files.len() - 1, &[0, 4096])] {
        let mut files = files.clone();
        for slot in slots {
            let header = &mut files[victim].1[*slot..slot + 512];
            header[8..12].copy_from_slice(&2_u32.to_le_bytes());
            let sum = crc32c::crc32c(&header[..508]);
            header[508..].copy_from_slice(&sum.to_le_bytes());
        }
        let error = open(&disk_with(&files)).await.unwrap_err();
        let OpenError::UnsupportedVersion { file, found: 2, supported: 1 } = &error else {
            panic!("{error}");
        };
        assert_eq!(*file, files[victim].0);
    }
}

#[tokio::test]
async fn the_small_log_is_whole() {
    let (log, recovered) = open(&disk_with(&small_log().await)).await.unwrap();
    assert_eq!((recovered.replica, recovered.torn), (crate::support::REPLICA, None));
    assert_eq!(log.vote(), Some(Vote { term: 2, candidate: 4, committed: true }));
    assert_eq!((log.purged(), log.last()), (Some(id(2, 5)), Some(id(2, 12))));
    assert_eq!(log.committed(), Some(id(2, 10)));
    let entries = read_all(&log).await;
    let expected: Vec<_> = (6..13).map(|index| entry(2, index, 600)).collect();
    assert_eq!(entries, expected);
}
