//! The shards that come to a replica's group, and those that leave it, as its leader remembers them.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::handoff::brake::Slowed;
use crate::handoff::watched::Watched;

/// The shards that come to a replica's group, and leave it.
#[derive(Debug, Default)]
pub struct Handoffs {
    /// The shards whose writers are slowed down.
    pub slowed: Arc<Slowed>,
    /// The progress of the shards that come, when the leader last looked.
    pub(crate) watched: Mutex<Watched>,
}
