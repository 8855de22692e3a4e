//! A log's segments and its vote with other bytes than were written; half of them with checksums that
//! fit, so that more is read than these.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skv_disk::{Disk, MemoryDisk};
use skv_log::{Entry, Log, LogId, Options, Vote};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::found::found;
use super::runtime::runtime;
use super::snapshots::bytes_of;
use crate::draw::Draw;
use crate::raw;
use crate::trial::Trial;

/// The logs of one round.
const LOGS: usize = 150;
/// The time within which a short log is opened, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);
const DIR: &str = "/log";
const SECTOR: usize = 512;
/// The place of a segment's salt in its first sector, and of that sector's checksum.
const SALT: std::ops::Range<usize> = 24..32;
const HEADER_CHECKSUM: usize = 508;

type Files = Vec<(PathBuf, Vec<u8>)>;

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let files = runtime.block_on(written())?;
    for _ in 0..LOGS {
        let mut changed = files.clone();
        change(draw, &mut changed);
        let all = changed.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<u8>>();
        let disk = disk_with(&changed)?;
        let opened = found(
            trial.read("a log", &all, || runtime.block_on(async { timeout(PATIENCE, open(&disk)).await })),
        )?;
        match opened {
            Ok(Ok(())) => {}
            Ok(Err(_)) => trial.refuse(),
            Err(_) => anyhow::bail!("a log is neither opened nor refused\n{}", crate::trial::shown(&all)),
        }
    }
    Ok(())
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, leader: 3, index }
}

async fn append(log: &Log, entries: Vec<Entry>) -> anyhow::Result<()> {
    let (done, durable) = oneshot::channel();
    log.append(entries, Box::new(|result| drop(done.send(result))))?;
    Ok(durable.await??)
}

/// Returns the files of a log of several segments, with everything in it.
async fn written() -> anyhow::Result<Files> {
    let disk = MemoryDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = Options { segment_bytes: 16 * SECTOR as u32, cache_bytes: 0, ..Options::default() };
    Log::format(&shared, Path::new(DIR), 7, &options).await?;
    let (log, _) = Log::open(shared, Path::new(DIR), &options).await?;
    let entry = |term, index, len: usize| Entry {
        id: id(term, index),
        kind: 1,
        payload: Bytes::from(vec![index as u8; len]),
    };
    log.save_vote(Vote { term: 1, candidate: 3, committed: false }).await?;
    for index in 0..6 {
        append(&log, vec![entry(1, index, 700)]).await?;
    }
    log.truncate_after(Some(4)).await?;
    log.save_vote(Vote { term: 2, candidate: 4, committed: true }).await?;
    for index in 5..12 {
        append(&log, vec![entry(2, index, 600)]).await?;
    }
    log.save_committed(Some(id(2, 10)))?;
    log.purge(id(2, 5))?;
    append(&log, vec![entry(2, 12, 600), entry(2, 13, 0)]).await?;
    let finished = log.finished();
    drop(log);
    finished.wait().await;
    let names = disk.list(Path::new(DIR))?;
    names.into_iter().map(|name| Ok((name.clone(), bytes_of(&disk, &name)?))).collect()
}

fn disk_with(files: &Files) -> anyhow::Result<MemoryDisk> {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR))?;
    for (name, bytes) in files {
        disk.create(name)?.write_all_at(bytes, 0)?;
    }
    Ok(disk)
}

fn change(draw: &mut Draw, files: &mut Files) {
    match draw.below(20) {
        0 => drop(files.remove(draw.below(files.len()))),
        1 => {
            let (a, b) = (draw.below(files.len()), draw.below(files.len()));
            let bytes = files[a].1.clone();
            files[b].1 = bytes;
        }
        _ => {
            let at = draw.below(files.len());
            let (_, bytes) = &mut files[at];
            let sealed = draw.chance(60);
            for _ in 0..=draw.below(2) {
                // In one sector, so that the others stay whole.
                let from = draw.below(bytes.len() / SECTOR) * SECTOR;
                let mut sector = bytes[from..from + SECTOR].to_vec();
                raw::change(draw, &mut sector);
                if sealed {
                    sector.resize(SECTOR, 0);
                }
                drop(bytes.splice(from..from + SECTOR, sector));
                if bytes.len() < SECTOR {
                    return;
                }
            }
            if sealed {
                seal(bytes);
            }
        }
    }
}

/// Gives each sector of a file the checksum that fits.
fn seal(bytes: &mut [u8]) {
    let is_vote = bytes.starts_with(b"SKVVOTE");
    let salt: [u8; 8] = bytes[SALT].try_into().unwrap_or_default();
    for (number, sector) in (0_u32..).zip(bytes.chunks_exact_mut(SECTOR)) {
        if number == 0 || is_vote && number == 8 {
            let sum = crc32c::crc32c(&sector[..HEADER_CHECKSUM]);
            sector[HEADER_CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        } else if !is_vote && sector.iter().any(|byte| *byte != 0) {
            let sum = crc32c::crc32c(&salt);
            let sum = crc32c::crc32c_append(sum, &number.to_le_bytes());
            let sum = crc32c::crc32c_append(sum, &sector[4..]);
            sector[..4].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// Opens a log, reads all of it, and writes to it.
async fn open(disk: &MemoryDisk) -> anyhow::Result<()> {
    let options = Options { segment_bytes: 0, cache_bytes: 1 << 20, ..Options::default() };
    let (log, _) = Log::open(Arc::new(disk.clone()), Path::new(DIR), &options).await?;
    log.reader().read(0..u64::MAX, usize::MAX).await?;
    let next = log.last().map_or(0, |last| last.index.saturating_add(1));
    append(&log, vec![Entry { id: id(u64::MAX, next), kind: 1, payload: Bytes::from_static(b"next") }])
        .await?;
    log.save_vote(Vote { term: 9, candidate: 3, committed: false }).await?;
    let finished = log.finished();
    drop(log);
    finished.wait().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_sealed_as_the_log_seals_them() {
        let runtime = runtime().unwrap();
        let files = runtime.block_on(written()).unwrap();
        for (name, bytes) in files {
            let mut sealed = bytes.clone();
            seal(&mut sealed);
            assert!(sealed == bytes, "{}", name.display());
        }
    }
}
