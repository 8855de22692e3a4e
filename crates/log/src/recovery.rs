//! Opening a log: all of it is read and checked before any of it is believed.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skv_disk::Disk;

use crate::entry::LogId;
use crate::error::{Damage, OpenError};
use crate::index::Index;
use crate::record::{Position, Record};
use crate::scan::{Scanned, scan};
use crate::sector::{self, SECTOR, Sector};
use crate::segment::{Active, Older, Place, Segment, write_zeros};
use crate::vote::VoteFile;

/// A log that has been read.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) vote_file: VoteFile,
    pub(super) index: Index,
    pub(super) committed: Option<LogId>,
    /// All segments before the active one.
    pub(super) segments: VecDeque<Older>,
    pub(super) active: Active,
    /// The segment that was prepared to follow.
    pub(super) prepared: Option<Segment>,
    pub(super) torn: Option<TornBatch>,
}

/// A batch that was being written when the power went: nothing in it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornBatch {
    /// The file of the segment.
    pub file: PathBuf,
    /// The offset at which it began.
    pub offset: u64,
}

/// Reads the log in a directory, and erases the remains of a torn batch.
pub(super) async fn recover(disk: &dyn Disk, dir: &Path, cache_limit: usize) -> Result<Recovery, OpenError> {
    let numbers = list(disk, dir)?;
    let vote_file = VoteFile::open(disk, dir)?;

    let mut replay = Replay { index: Index::new(cache_limit), purged: None, committed: None };
    let mut segments = VecDeque::new();
    let mut active: Option<(Active, Scanned)> = None;
    let mut prepared = None;
    let mut last = None;
    let mut bytes = Vec::new();
    for number in numbers {
        let path = Segment::path(dir, number);
        if !disk.exists(&path).map_err(OpenError::io(&path))? {
            return Err(Damage::new(&path, 0, "the segment is missing").into());
        }
        let segment = Segment::open(disk, &path, number, &mut bytes)?;
        if segment.replica != vote_file.replica() {
            return Err(segment.damage(0, "it belongs to another replica").into());
        }
        match active.as_ref().map(|(before, scanned)| (before, scanned.sealed)) {
            Some((before, None)) => {
                check_unused(&segment, &bytes, before)?;
                if prepared.replace(segment).is_some() {
                    return Err(Damage::new(&path, 0, "the segment before it was never used").into());
                }
                continue;
            }
            Some((_, Some(salt))) if salt != segment.salt => {
                return Err(segment.damage(0, "it isn't the segment that followed the one before").into());
            }
            _ => {}
        }

        let segment = Arc::new(segment);
        let is_first = active.is_none();
        let mut highest = None;
        let scanned = scan(&segment, &bytes, |record, place| {
            if let Record::Entry { id, .. } = record {
                highest = highest.max(Some(id.index));
            }
            replay.apply(record, place, is_first)
        })?;
        if is_first && scanned.next_batch == 1 {
            return Err(segment.damage(1, "the log's first batch is missing").into());
        }
        let Scanned { next_sector, next_batch, last_batch, .. } = scanned;
        if next_batch > 1 {
            last = Some((Arc::clone(&segment), last_batch..next_sector));
        }
        let now = Active { segment, highest, next_sector, next_batch };
        if let Some((Active { segment, highest, .. }, _)) = active.replace((now, scanned)) {
            segments.push_back(Older { segment, highest });
        }
    }

    let Some((active, Scanned { sealed, torn, .. })) = active else {
        return Err(Damage::new(&Segment::path(dir, 1), 0, "the log has no segments").into());
    };
    check_ends(dir, &segments, &active, sealed, &mut replay)?;

    let io = OpenError::io(dir);
    let torn = settle(disk, dir, &vote_file, last, &active, torn).await.map_err(io)?;
    let Replay { index, committed, .. } = replay;
    Ok(Recovery { vote_file, index, committed, segments, active, prepared, torn })
}

/// Checks that the log ends with a segment that isn't sealed, and begins where it was purged.
fn check_ends(
    dir: &Path,
    segments: &VecDeque<Older>,
    active: &Active,
    sealed: Option<u64>,
    replay: &mut Replay,
) -> Result<(), OpenError> {
    let segment = &active.segment;
    if sealed.is_some() {
        let next = Segment::path(dir, segment.number + 1);
        return Err(Damage::new(&next, 0, "the segment is missing").into());
    }
    if !replay.index.confirm_purged(replay.purged) {
        let first = segments.front().map_or(segment, |older: &Older| &older.segment);
        return Err(first.damage(0, "entries from before this segment are missing").into());
    }
    Ok(())
}

/// Makes durable what was read, and erases the remains of a torn batch.
///
/// The process that wrote the log may have ended, or its sync may have failed, with the last batch,
/// vote or name only in the system's memory. Everything before that was synced.
async fn settle(
    disk: &dyn Disk,
    dir: &Path,
    vote_file: &VoteFile,
    last_batch: Option<(Arc<Segment>, Range<u32>)>,
    active: &Active,
    torn: Option<Range<u32>>,
) -> io::Result<Option<TornBatch>> {
    let byte = |sector: u32| u64::from(sector) * SECTOR as u64;
    disk.sync_dir(dir)?;
    vote_file.save_again().await?;
    if let Some((segment, sectors)) = last_batch {
        let mut bytes = vec![0; sectors.len() * SECTOR];
        segment.file.read_exact_at(&mut bytes, byte(sectors.start))?;
        segment.file.write_all_at(&bytes, byte(sectors.start))?;
        segment.file.sync().await?;
    }
    let Some(sectors) = torn else { return Ok(None) };
    // The remains would pass for damage behind the next batch.
    write_zeros(&*active.segment.file, sectors, |_| true).await?;
    Ok(Some(TornBatch { file: active.segment.path.clone(), offset: byte(active.next_sector) }))
}

/// Returns the numbers of the segments, from the first to the last. Removes the remains of a preparation.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Range<u32>, OpenError> {
    let mut numbers: Option<(u32, u32)> = None;
    for path in disk.list(dir).map_err(OpenError::io(dir))? {
        if path.extension().is_some_and(|e| e == "tmp") {
            disk.remove(&path).map_err(OpenError::io(&path))?;
        } else if let Some(n) = Segment::number_of(&path) {
            numbers = Some(numbers.map_or((n, n), |(first, last)| (first.min(n), last.max(n))));
        }
    }
    Ok(numbers.map_or(0..0, |(first, last)| first..last + 1))
}

/// A segment behind one that hasn't ended was only prepared. If it was written, the end
/// of the one before is lost.
fn check_unused(segment: &Segment, bytes: &[u8], before: &Active) -> Result<(), Damage> {
    let mut sectors = bytes.chunks_exact(SECTOR).zip(0..).skip(1);
    let Some((bytes, number)) = sectors.find(|(bytes, _)| bytes.iter().any(|&b| b != 0)) else {
        return Ok(());
    };
    if sector::read(bytes, segment.salt, number) == Sector::Damaged {
        return Err(segment.damage(number, "a sector doesn't match its checksum"));
    }
    let reason = format!("its end is missing, though segment {} is in use", segment.number);
    Err(before.segment.damage(before.next_sector, reason))
}

/// The records so far. What precedes the first segment counts as purged until the end.
struct Replay {
    index: Index,
    purged: Option<LogId>,
    committed: Option<LogId>,
}

impl Replay {
    fn apply(&mut self, record: &Record, place: Place, is_first: bool) -> Result<(), String> {
        match *record {
            Record::Entry { id, kind, len } => {
                self.index.found(id, kind, len, place).map_err(|gap| gap.to_string())?;
            }
            Record::TruncateFrom(index) => self.index.truncate_from(index),
            Record::Purge(id) => {
                self.purged = Some(id);
                self.index.purge(id);
            }
            Record::Committed(id) => self.committed = Some(id),
            Record::Position(position) if is_first => {
                self.index.start_after(position.last);
                self.purged = position.purged;
                self.committed = position.committed;
            }
            Record::Position(position) => {
                let here =
                    Position { purged: self.purged, last: self.index.last(), committed: self.committed };
                // The index alone is known of an entry from before the first segment.
                let last = match position.last {
                    None => self.index.range().is_empty(),
                    Some(last) => here.last.is_some_and(|here| here.index == last.index),
                };
                if !last || position.purged != here.purged || position.committed != here.committed {
                    return Err(format!("it continues {position:?}, the segment before ended at {here:?}"));
                }
            }
            Record::Seal { .. } => {}
        }
        Ok(())
    }
}
