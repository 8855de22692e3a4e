//! The interface of a store of the record, with its errors.

use std::fmt::{self, Debug};
use std::path::PathBuf;

use futures::future::BoxFuture;
use skv_assignment::record::Record;

/// The name of one written state of the record: what a compare-and-swap compares. Opaque to all but the
/// store (a Kubernetes `resourceVersion` fits).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub(super) String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason for which a record couldn't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer changed the record since; nothing was written now.
    #[error("the record was changed by another writer")]
    Conflict,
    /// The record was tampered with, or the disk lost bytes.
    #[error(
        "{place} is damaged: {reason}; put a good copy back, or remove it: the map is then rebuilt from the groups"
    )]
    Damaged {
        /// The file or object.
        place: String,
        /// The damage.
        reason: String,
    },
    /// A newer program wrote the record.
    #[error(
        "{place} has format version {found}, this program reads version {supported}: run the program that wrote it, or a newer one"
    )]
    UnsupportedVersion {
        /// The file or object.
        place: String,
        /// The record's format version.
        found: u32,
        /// The format version that this program reads and writes.
        supported: u32,
    },
    /// Reading or writing failed. After a write the state is unknown until the next load.
    #[error("can't {action} {file}: {source}")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file that it concerned.
        file: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The object that holds the record isn't there.
    #[error("{object} doesn't exist: the operator makes it; is it running?")]
    Missing {
        /// The object's kind and name.
        object: String,
    },
    /// The Kubernetes API refused, or couldn't be reached. After a write the state is
    /// unknown until the next load.
    #[error("can't {action} {object}: {source}")]
    Kubernetes {
        /// The action that failed.
        action: &'static str,
        /// The object that it concerned.
        object: String,
        /// The error of the API server or of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A place for one record.
pub trait MapStore: Debug + Send + Sync + 'static {
    /// Returns the record as it is now; `None` if none was ever written (or it was lost).
    fn load(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>>;

    /// Replaces the record if it is still the one of `expected` (`None`: if there is none). Once it
    /// returns the new version, the record is durable.
    fn compare_and_swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;
}
