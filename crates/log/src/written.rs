//! The batches that were written, for those who count them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A batch of records that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its length.
    pub bytes: usize,
    /// The time of its write and sync together.
    pub time: Duration,
}

/// Is told of each batch that was written; nobody by default.
#[derive(Clone, Default)]
pub struct OnWritten(Option<Arc<dyn Fn(Written) + Send + Sync>>);

impl OnWritten {
    /// Has this function told. It must not block.
    pub fn new(tell: impl Fn(Written) + Send + Sync + 'static) -> OnWritten {
        OnWritten(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, written: Written) {
        if let OnWritten(Some(tell)) = self {
            tell(written);
        }
    }
}

impl fmt::Debug for OnWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnWritten").field(&self.0.is_some()).finish()
    }
}
