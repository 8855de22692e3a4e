//! The reasons why a log doesn't open, and why one that is open stops.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Bytes that aren't those that were written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {reason}", file.display())]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The offset at which the first wrong byte may lie.
    pub offset: u64,
    /// A description of the damage.
    pub reason: String,
}

impl Damage {
    pub(super) fn new(file: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Damage { file: file.to_owned(), offset, reason: reason.into() }
    }
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }
}

/// The reason why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Acknowledged entries may be lost: this replica must not vote again.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The log is whole, and of another version.
    #[error(
        "{} has version {found} of the log's format; this program reads {supported}. Use one that reads it",
        file.display()
    )]
    UnsupportedVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read here.
        supported: u32,
    },
    /// The disk failed.
    #[error("can't open the log, at {}: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(file: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let file = file.to_owned();
        |source| OpenError::Io { file, source }
    }
}

/// The first error of an open log. The disk's content is uncertain from then on, so that nothing is
/// written after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<OnceLock<(io::ErrorKind, String)>>);

impl Failure {
    pub(super) fn set(&self, error: &io::Error) {
        let _ = self.0.set((error.kind(), format!("the log stopped: {error}")));
    }

    pub(super) fn check(&self) -> io::Result<()> {
        self.0.get().map_or(Ok(()), |(kind, message)| Err(io::Error::new(*kind, message.clone())))
    }
}
