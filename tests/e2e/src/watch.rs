//! A constant watch on the number of servers that are away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Store;

/// Short against the time that a pod takes to be replaced.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts the servers of a store that aren't ready, from its start to its end.
pub struct Watch {
    most: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch a store that has this number of servers.
    pub fn start(store: &Store, servers: usize) -> Watch {
        let (store, most) = (store.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let task = tokio::spawn(async move {
            loop {
                // A list that fails says nothing of servers.
                if let Some(ready) = store.namespace.ready_pods_now(&store.servers_label()).await {
                    seen.fetch_max(servers.saturating_sub(ready.len()), Ordering::Relaxed);
                }
                sleep(PAUSE).await;
            }
        });
        Watch { most, task }
    }

    /// Returns the largest number that were away at the same time.
    pub fn most_away(self) -> usize {
        self.task.abort();
        self.most.load(Ordering::Relaxed)
    }
}
