//! The state that all clones of a clerk, and all their calls, share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::attempt::Attempt;
use crate::options::Options;
use crate::routing::Router;
use crate::session::Sessions;

pub(crate) struct Shared {
    pub(crate) options: Options,
    /// The first attempt of each call.
    pub(crate) attempt: Attempt,
    pub(crate) router: Arc<Router>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) in_flight: Semaphore,
    pub(crate) background: Vec<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.background.iter().for_each(AbortHandle::abort);
    }
}
