//! Reading entries: the newest from memory, the others from their segments, on a task
//! that may block.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::Shared;
use crate::entry::{Entry, Vote};
use crate::index::Stored;
use crate::record::{ENTRY_HEADER, Record};
use crate::sector::{self, PAYLOAD, SECTOR, Sector};
use crate::segment::Segment;

/// The number of sectors that are read at once, unless one entry has more.
const SECTORS_AT_ONCE: u32 = 2048;

/// Reads a log. Clones read on their own.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
}

/// Entries to be read from disk.
#[derive(Debug)]
pub(super) struct Request {
    stored: Vec<Stored>,
    segments: BTreeMap<u32, Arc<Segment>>,
    answer: oneshot::Sender<io::Result<Vec<Entry>>>,
}

impl LogReader {
    /// Returns the entries of a range that the log holds: all of them, or as many as have `limit`
    /// bytes together, but at least one.
    pub async fn read(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        let (mut found, segments) = {
            let state = self.shared.state.lock();
            let found = state.index.find(&range, limit);
            let segments = match (found.stored.first(), found.stored.last()) {
                (Some(first), Some(last)) => state
                    .segments
                    .range(first.place.segment..=last.place.segment)
                    .map(|(number, segment)| (*number, segment.clone()))
                    .collect(),
                _ => BTreeMap::new(),
            };
            (found, segments)
        };
        if found.stored.is_empty() {
            return Ok(found.cached);
        }
        let (answer, entries) = oneshot::channel();
        let _ = self.requests.send(Request { stored: found.stored, segments, answer });
        let mut entries = entries.await.map_err(|_| io::Error::other("the log is closed"))??;
        entries.append(&mut found.cached);
        Ok(entries)
    }

    /// Returns the last vote that was saved.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.state.lock().vote
    }
}

/// Serves readers until all of them are gone.
pub(super) async fn serve(mut requests: mpsc::UnboundedReceiver<Request>) {
    while let Some(Request { stored, segments, answer }) = requests.recv().await {
        let _ = answer.send(read_all(&stored, &segments));
    }
}

fn read_all(mut stored: &[Stored], segments: &BTreeMap<u32, Arc<Segment>>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(stored.len());
    while let Some(first) = stored.first() {
        let segment =
            segments.get(&first.place.segment).ok_or_else(|| io::Error::other("a segment is gone"))?;
        let start = first.first_sector();
        let fits =
            |s: &&Stored| s.place.segment == first.place.segment && s.end_sector() - start <= SECTORS_AT_ONCE;
        let run = stored.iter().take_while(fits).count().max(1);
        let (now, later) = stored.split_at(run);
        read_run(segment, start..now[run - 1].end_sector(), now, &mut entries)?;
        stored = later;
    }
    Ok(entries)
}

/// Reads neighbouring entries at once; their payloads share one allocation.
fn read_run(
    segment: &Segment,
    sectors: Range<u32>,
    stored: &[Stored],
    into: &mut Vec<Entry>,
) -> io::Result<()> {
    let mut bytes = vec![0; sectors.len() * SECTOR];
    segment.file.read_exact_at(&mut bytes, u64::from(sectors.start) * SECTOR as u64)?;
    let mut payload = Vec::with_capacity(sectors.len() * PAYLOAD);
    for (number, bytes) in sectors.clone().zip(bytes.chunks_exact(SECTOR)) {
        let Sector::Written { payload: part, .. } = sector::read(bytes, segment.salt, number) else {
            return Err(segment.damage(number, "a sector doesn't match its checksum").into());
        };
        payload.extend_from_slice(part);
    }
    let payload = Bytes::from(payload);
    let base = sectors.start as usize * PAYLOAD;
    for s in stored {
        let start = s.place.offset as usize - base;
        let (id, kind, len) = (s.id, s.kind, s.len);
        if Record::decode(&mut &payload[start..]) != Some(Record::Entry { id, kind, len }) {
            return Err(segment.damage(s.first_sector(), format!("entry {} isn't here", id.index)).into());
        }
        let start = start + ENTRY_HEADER;
        into.push(Entry { id, kind, payload: payload.slice(start..start + len as usize) });
    }
    Ok(())
}

impl Stored {
    fn first_sector(&self) -> u32 {
        self.place.offset / PAYLOAD as u32
    }

    fn end_sector(&self) -> u32 {
        (self.place.offset as usize + ENTRY_HEADER + self.len as usize).div_ceil(PAYLOAD) as u32
    }
}
