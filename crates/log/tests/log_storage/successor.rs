//! A log whose tasks don't end, since the disk hangs: its directory is put aside, and a successor's log
//! is made under its name. What the old tasks do when the disk goes on mustn't reach the successor.

use std::path::Path;
use std::time::Duration;

use skv_disk::Disk as _;
use skv_log::Log;

use crate::support::{append, close, dir, entry, files, formatted, open, options, read_all, shared, until};

const SECTORS: u32 = 32;
const ASIDE: &str = "/aside";
const LONG: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn what_outlives_a_log_touches_nothing_of_its_successor() {
    let disk = formatted(&options(SECTORS)).await;
    disk.set_sync_delay(LONG);
    let (log, _) = open(&disk).await.unwrap();
    let finished = log.finished();
    until(|| disk.exists(&dir().join("00000002.tmp")).unwrap()).await;
    drop(log);
    finished.close().await.unwrap();
    disk.rename(dir(), Path::new(ASIDE)).unwrap();

    disk.set_sync_delay(Duration::ZERO);
    Log::format(&shared(&disk), dir(), 8, &options(SECTORS)).await.unwrap();
    let (successor, recovered) = open(&disk).await.unwrap();
    assert_eq!(recovered.replica, 8);
    until(|| disk.exists(&dir().join("00000002.seg")).unwrap()).await;
    append(&successor, vec![entry(1, 0, 100)]).await.unwrap();
    let made = files(&disk);
    finished.wait().await;
    assert_eq!(files(&disk), made, "the successor's files are as it made them");

    close(successor).await;
    let (log, _) = open(&disk).await.unwrap();
    assert_eq!(read_all(&log).await.len(), 1);
}
