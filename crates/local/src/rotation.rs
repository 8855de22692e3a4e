//! Logs that stay small.
//!
//! A process appends to a file that it keeps open, whether its supervisor runs or not. So a log that is full
//! is copied and then emptied, rather than renamed. Lines that are written between the two are lost.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::private;

/// The size at which a log is put aside. The one before it is removed then, so that a process keeps at most
/// about twice as much.
const LIMIT_BYTES: u64 = 16 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns the place of the part of a log that was put aside.
pub fn old_log(log: &Path) -> PathBuf {
    log.with_extension("log.old")
}

/// Keeps the logs in a directory small, for ever.
pub(crate) async fn keep_small(logs: PathBuf) {
    loop {
        sleep(LOOK_EVERY).await;
        let logs = logs.clone();
        // What can't be put aside now is put aside at the next look; there is nobody to tell but a log.
        let _ = tokio::task::spawn_blocking(move || rotate_all(&logs, LIMIT_BYTES)).await;
    }
}

fn rotate_all(logs: &Path, limit: u64) -> io::Result<()> {
    for entry in fs::read_dir(logs)? {
        let log = entry?.path();
        if log.extension().is_some_and(|extension| extension == "log") {
            rotate(&log, limit)?;
        }
    }
    Ok(())
}

fn rotate(log: &Path, limit: u64) -> io::Result<()> {
    if fs::metadata(log)?.len() < limit {
        return Ok(());
    }
    let mut old = private::options().write(true).create(true).truncate(true).open(old_log(log))?;
    io::copy(&mut File::open(log)?, &mut old)?;
    File::options().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_its_process_writes_on() {
        let temporary = tempfile::tempdir().unwrap();
        let log = temporary.path().join("store-g0-0.log");
        let mut process = File::options().create(true).append(true).open(&log).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        process.write_all(b"123456789\n").unwrap();
        rotate_all(temporary.path(), 11).unwrap();
        assert!(!old_log(&log).exists());
        process.write_all(b"abc\n").unwrap();
        rotate_all(temporary.path(), 11).unwrap();
        process.write_all(b"next\n").unwrap();
        assert_eq!((read(&old_log(&log)), read(&log)), ("123456789\nabc\n".to_owned(), "next\n".to_owned()));
        process.write_all(b"123456789\n").unwrap();
        rotate_all(temporary.path(), 11).unwrap();
        assert_eq!((read(&old_log(&log)), read(&log)), ("next\n123456789\n".to_owned(), String::new()));
    }
}
