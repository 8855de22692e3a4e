//! Room for entries, promised before they are proposed: a full disk, or one that takes no new file,
//! is a refusal to a client and never an error of the log.
//!
//! A promise must hold whatever happens to the rest of the active segment, so it counts against one
//! segment only: the prepared one, or else the remainder of the active one. Every entry is charged
//! the sectors that it would fill alone. A reserve stays for writes that nobody asks room for:
//! purges, truncations, the entries that open a term or change the membership. When even that is used
//! up, the log waits until there is space.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::batch::{BATCH_HEADER, sectors_for};
use crate::error::Failure;
use crate::record::ENTRY_HEADER;
use crate::sector::{PAYLOAD, SECTOR};
use crate::segment::Segment;

/// The upper limit of the reserve for writes that nobody asks room for, in bytes.
const MOST_RESERVE_BYTES: usize = 256 << 10;

/// The reason why there is no room for an entry.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The disk is full. Nothing was written; the disk is tried again by itself.
    #[error("no space is left for the log")]
    DiskFull,
    /// The next segment can't be made, such as for want of a descriptor. Nothing was written, as
    /// above.
    #[error("the log's next segment can't be made: {0}")]
    NoFile(Arc<str>),
    /// The entry is too large for any segment.
    #[error("an entry of {bytes} bytes is too large: the log takes {max}")]
    TooLarge {
        /// The entry's length.
        bytes: usize,
        /// The longest possible.
        max: usize,
    },
    /// The log has failed, or was closed.
    #[error(transparent)]
    Stopped(io::Error),
}

/// The room of one log. Clones share it.
#[derive(Debug, Clone)]
pub struct Space(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: Mutex<Room>,
    changed: Notify,
    full: watch::Sender<bool>,
    /// The number of sectors of a segment that batches may fill.
    usable: u32,
    /// The reserve in sectors.
    reserve: u32,
    largest_entry: usize,
    failure: Failure,
    closed: CancellationToken,
}

/// The room of the log, in sectors.
#[derive(Debug)]
struct Room {
    active: u32,
    prepared: Option<Arc<Segment>>,
    promised: u32,
    /// The numbers of appends that were asked for, and that are durable.
    queued: u64,
    written: u64,
    /// Promises that nobody holds any more, each with the number of the append after which it is over.
    given_up: VecDeque<(u64, u32)>,
    /// The reason why there is no prepared segment, if making it failed the last time.
    lacking: Option<Lacking>,
}

/// The resource that is missing for the next segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lacking {
    Space,
    /// The file for the segment can't be made, with the disk's reason.
    File(Arc<str>),
}

impl From<Lacking> for SpaceError {
    fn from(lacking: Lacking) -> Self {
        match lacking {
            Lacking::Space => SpaceError::DiskFull,
            Lacking::File(why) => SpaceError::NoFile(why),
        }
    }
}

/// Room for one entry. Keep it until the log was asked to write the entry, or it is given up.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Reservation {
    space: Space,
    sectors: u32,
}

impl Drop for Reservation {
    /// Gives the room back as soon as all is written that the log was asked to write: the entry may be among
    /// that, though nobody waits for it any more.
    fn drop(&mut self) {
        let mut room = self.space.0.room.lock();
        if room.written < room.queued {
            let after = room.queued;
            room.given_up.push_back((after, self.sectors));
            return;
        }
        room.promised -= self.sectors;
        drop(room);
        self.space.0.changed.notify_waiters();
    }
}

/// Returns the room for entries that are written together, as the length of one entry that takes as
/// much: each of them has a header.
pub fn together(payloads: impl IntoIterator<Item = usize>) -> usize {
    let all: usize = payloads.into_iter().map(|bytes| ENTRY_HEADER + bytes).sum();
    all.saturating_sub(ENTRY_HEADER)
}

/// Returns the number of sectors of a segment that batches may fill: all but its header and its seal.
fn usable(sectors: u32) -> u32 {
    sectors - 2
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

impl Space {
    pub(super) fn new(
        active: u32,
        segment_sectors: u32,
        prepared: Option<Segment>,
        failure: Failure,
        closed: CancellationToken,
    ) -> Self {
        let reserve = ((MOST_RESERVE_BYTES / SECTOR) as u32).min(segment_sectors / 4);
        let largest = (usable(segment_sectors) - reserve) as usize * PAYLOAD;
        Space(Arc::new(Inner {
            room: Mutex::new(Room {
                active,
                prepared: prepared.map(Arc::new),
                promised: 0,
                queued: 0,
                written: 0,
                given_up: VecDeque::new(),
                lacking: None,
            }),
            changed: Notify::new(),
            full: watch::Sender::new(false),
            usable: usable(segment_sectors),
            reserve,
            largest_entry: largest - BATCH_HEADER - ENTRY_HEADER,
            failure,
            closed,
        }))
    }

    /// Returns the longest payload of an entry.
    pub fn max_entry_bytes(&self) -> usize {
        self.0.largest_entry
    }

    /// Returns true if the disk had no space, or no file, for the next segment when it was last
    /// tried.
    pub fn is_full(&self) -> bool {
        *self.0.full.borrow()
    }

    /// Returns a view that follows [`Space::is_full`].
    pub fn watch_full(&self) -> watch::Receiver<bool> {
        self.0.full.subscribe()
    }

    /// Promises room for an entry whose payload has `bytes`. Waits while the next segment
    /// is being made, and while all room is promised to others.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, SpaceError> {
        let max = self.0.largest_entry;
        if bytes > max {
            return Err(SpaceError::TooLarge { bytes, max });
        }
        let sectors = sectors_for(BATCH_HEADER + ENTRY_HEADER + bytes);
        loop {
            let changed = self.0.changed.notified();
            self.0.failure.check().map_err(SpaceError::Stopped)?;
            if self.is_closed() {
                return Err(SpaceError::Stopped(closed()));
            }
            {
                let mut room = self.0.room.lock();
                let capacity = room.prepared.as_ref().map_or(room.active, |s| usable(s.sectors));
                if room.promised + sectors <= capacity.saturating_sub(self.0.reserve) {
                    room.promised += sectors;
                    return Ok(Reservation { space: self.clone(), sectors });
                }
                if room.prepared.is_none()
                    && let Some(lacking) = &room.lacking
                {
                    return Err(lacking.clone().into());
                }
            }
            self.wait(changed).await;
        }
    }

    /// Waits for a change that matters: of the room, or of the log, which may be closed.
    async fn wait(&self, changed: impl Future<Output = ()>) {
        tokio::select! {
            () = changed => {}
            () = self.0.closed.cancelled(), if !self.is_closed() => {}
        }
    }

    /// Returns the number of sectors of the active segment that are used or promised. The next
    /// segment is wanted when that is all of them.
    pub(super) fn used(&self) -> u32 {
        let room = self.0.room.lock();
        (self.0.usable + room.promised).saturating_sub(room.active)
    }

    /// Returns true if the log is being closed.
    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.is_cancelled()
    }

    /// Notes that one more append was asked for.
    pub(super) fn note_queued(&self) {
        self.0.room.lock().queued += 1;
    }

    /// Notes the number of appends that are durable, and ends the promises that waited for them.
    pub(super) fn set_written(&self, appends: u64) {
        let mut room = self.0.room.lock();
        room.written = appends;
        let before = room.promised;
        while let Some((_, sectors)) = room.given_up.pop_front_if(|(after, _)| *after <= appends) {
            room.promised -= sectors;
        }
        if room.promised < before {
            drop(room);
            self.0.changed.notify_waiters();
        }
    }

    /// Notes the number of sectors that are left in the active segment.
    pub(super) fn set_active(&self, sectors: u32) {
        self.0.room.lock().active = sectors;
    }

    pub(super) fn set_prepared(&self, segment: Segment) {
        {
            let mut room = self.0.room.lock();
            room.prepared = Some(Arc::new(segment));
            room.lacking = None;
        }
        self.0.full.send_if_modified(|full| std::mem::replace(full, false));
        self.0.changed.notify_waiters();
    }

    /// Notes that the next segment can't be made for now. Returns true if the reason is another one
    /// than before.
    pub(super) fn set_full(&self, why: &io::Error) -> bool {
        let lacking =
            if skv_disk::is_full(why) { Lacking::Space } else { Lacking::File(why.to_string().into()) };
        let before = self.0.room.lock().lacking.replace(lacking.clone());
        self.0.full.send_if_modified(|full| !std::mem::replace(full, true));
        self.0.changed.notify_waiters();
        before != Some(lacking)
    }

    /// Waits for the next segment and makes it the active one. A log that is being closed
    /// doesn't wait for a full disk.
    pub(super) async fn take_prepared(&self) -> io::Result<Arc<Segment>> {
        loop {
            let changed = self.0.changed.notified();
            self.0.failure.check()?;
            {
                let mut room = self.0.room.lock();
                if let Some(segment) = room.prepared.take() {
                    room.active = usable(segment.sectors);
                    return Ok(segment);
                }
            }
            if self.is_full() && self.is_closed() {
                return Err(closed());
            }
            self.wait(changed).await;
        }
    }

    /// Wakes all tasks that wait, after a failure.
    pub(super) fn wake(&self) {
        self.0.changed.notify_waiters();
    }
}
