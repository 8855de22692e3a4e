//! The snapshot that a directory receives: one at a time. What came of one whose transfer was interrupted
//! is kept, also when the process ends, so that the transfer can go on there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use skv_disk::{Disk, DiskFile};
use tokio::sync::oneshot;

use crate::place::Place;

/// The extension of files that are received.
pub(super) const EXTENSION: &str = "part";

/// The marks that tell the file of one snapshot from all others: its length, the checksum of its bytes, and the
/// last entry that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The term of the last entry that it covers; 0 if there is none.
    pub term: u64,
    /// The index of that entry.
    pub index: u64,
    /// The length of the file in bytes.
    pub length: u64,
    /// The checksum that stands at the end of the file.
    pub checksum: u32,
}

impl Fingerprint {
    /// Returns a name for the file while it is received.
    fn name(&self, number: u32) -> String {
        let Fingerprint { term, index, length, checksum } = self;
        format!("{term}-{index}-{length}-{checksum:08x}-{number}.{EXTENSION}")
    }

    /// Returns the fingerprint that a name tells.
    fn of_name(path: &Path) -> Option<Self> {
        let mut parts = path.file_stem()?.to_str()?.splitn(5, '-');
        let mut number = || parts.next()?.parse().ok();
        let (term, index, length) = (number()?, number()?, number()?);
        let checksum = u32::from_str_radix(parts.next()?, 16).ok()?;
        Some(Fingerprint { term, index, length, checksum })
    }
}

/// The beginning of a snapshot whose transfer was interrupted.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) fingerprint: Fingerprint,
    pub(super) path: PathBuf,
    /// The number of bytes that are there; `None` until the file was looked at.
    pub(super) length: Option<u64>,
}

/// The way to receive: whoever comes ends what was received before.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    left: Arc<tokio::sync::Mutex<Option<Left>>>,
    interrupt: Mutex<Option<oneshot::Sender<()>>>,
}

/// The turn of one who wants to receive, or to know what is there. It begins with the lock.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) left: Arc<tokio::sync::Mutex<Option<Left>>>,
    /// Ends when somebody else's turn is to come.
    pub(super) interrupted: oneshot::Receiver<()>,
}

impl Receiving {
    /// Begins with what a process left behind.
    pub(super) fn with(left: Option<Left>) -> Self {
        Receiving { left: Arc::new(tokio::sync::Mutex::new(left)), interrupt: Mutex::default() }
    }

    /// Asks for the next turn.
    pub(super) fn turn(&self) -> Turn {
        let (interrupt, interrupted) = oneshot::channel();
        *self.interrupt.lock() = Some(interrupt);
        Turn { left: self.left.clone(), interrupted }
    }
}

/// Returns what is left of these files, and removes the rest: all but one, and that too if the snapshot of
/// this position covers it. Blocks.
pub(super) fn sort_out(
    disk: &dyn Disk,
    files: Vec<PathBuf>,
    covered: Option<(u64, u64)>,
) -> io::Result<Option<Left>> {
    let mut kept: Option<Left> = None;
    for path in files {
        let fingerprint = Fingerprint::of_name(&path).filter(|f| Some((f.index, f.term)) > covered);
        let left = fingerprint.map(|fingerprint| Left { fingerprint, path: path.clone(), length: None });
        let gone = match left {
            None => Some(path),
            Some(left) => kept.replace(left).map(|before| before.path),
        };
        gone.map_or(Ok(()), |path| disk.remove(&path))?;
    }
    Ok(kept)
}

/// Makes a file for a snapshot with this fingerprint.
pub(super) fn create(place: &Place, fingerprint: &Fingerprint) -> io::Result<(PathBuf, Arc<dyn DiskFile>)> {
    let mut number = 0;
    loop {
        let path = place.path.join(fingerprint.name(number));
        match place.create(&path) {
            // What an earlier process left behind, or a closed directory in the same place.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            created => return Ok((path, created?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_fingerprint() {
        let fingerprint = Fingerprint { term: 3, index: 70, length: 1 << 40, checksum: 0x00ab_cdef };
        let name = fingerprint.name(2);
        assert_eq!(name, "3-70-1099511627776-00abcdef-2.part");
        assert_eq!(Fingerprint::of_name(Path::new(&name)), Some(fingerprint));
        for name in ["3-70.part", "a-b-c-d-e.part", "3-70-1-xyz-0.part", ".part"] {
            assert_eq!(Fingerprint::of_name(Path::new(name)), None, "{name}");
        }
    }
}
