//! The log over the operating system's files and threads.

use std::sync::Arc;

use skv_disk::{Disk, FaultyDisk, RealDisk};
use skv_log::{Log, Options, SpaceError};

use crate::support::{append, close, entry, options, read_all};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_there_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
    let options = Options { cache_bytes: 0, ..options(64) };
    Log::format(&disk, &dir, 1, &options).await.unwrap();
    for round in 0..4 {
        let (log, recovered) = Log::open(disk.clone(), &dir, &options).await.unwrap();
        assert_eq!(recovered.torn, None);
        assert_eq!(read_all(&log).await.len() as u64, round * 50);
        for index in round * 50..(round + 1) * 50 {
            append(&log, vec![entry(1, index, 1000)]).await.unwrap();
        }
        let expected: Vec<_> = (0..(round + 1) * 50).map(|index| entry(1, index, 1000)).collect();
        assert_eq!(read_all(&log).await, expected);
        close(log).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_passes_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let control = root.path().join("faults");
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(RealDisk::default()), control.clone()));
    Log::format(&disk, &dir, 1, &options(64)).await.unwrap();
    std::fs::write(&control, "full").unwrap();
    let (log, _) = Log::open(disk, &dir, &options(64)).await.unwrap();
    let mut full = log.space().watch_full();
    full.wait_for(|full| *full).await.unwrap();
    let mut index = 0;
    loop {
        match log.space().reserve(1000).await {
            Ok(_room) => append(&log, vec![entry(1, index, 1000)]).await.unwrap(),
            Err(SpaceError::DiskFull) => break,
            Err(other) => panic!("{other}"),
        }
        index += 1;
    }
    std::fs::remove_file(&control).unwrap();
    full.wait_for(|full| !full).await.unwrap();
    let _room = log.space().reserve(1000).await.unwrap();
    append(&log, vec![entry(1, index, 1000)]).await.unwrap();
    assert_eq!(read_all(&log).await.len() as u64, index + 1);
}
