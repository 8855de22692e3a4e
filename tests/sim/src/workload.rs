//! Clerks that call on random keys and record their calls.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_checker::{Event, RecordedClerk, Token};
use skv_client::{Clerk, Options};

use crate::cluster::Cluster;
use crate::layout::managers;
use crate::net;
use crate::resharding::Changes;
use crate::values::shortened;

/// The load of all clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The number of clients that call at the same time.
    pub(crate) clients: u64,
    /// The number of operations of each client, unless `changes` are to stop before.
    pub(crate) ops: u32,
    /// The number of keys.
    pub(crate) keys: u32,
    /// The longest time between two calls.
    pub(crate) pause: Duration,
    /// The time after which a call is given up.
    pub(crate) deadline: Duration,
}

/// The events that all clients have recorded so far.
#[derive(Debug, Clone)]
pub(crate) struct History {
    events: Arc<Mutex<Vec<Event>>>,
    /// The number of clients that still call.
    calling: Arc<AtomicU64>,
}

impl History {
    /// Makes one for this number of clients.
    pub(crate) fn of(clients: u64) -> History {
        History { events: Arc::default(), calling: Arc::new(AtomicU64::new(clients)) }
    }

    /// Returns true if every client has made all its calls.
    pub(crate) fn is_complete(&self) -> bool {
        self.calling.load(Ordering::Relaxed) == 0
    }

    /// Notes that a client makes no more calls.
    pub(crate) fn finished(&self) {
        self.calling.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the events, in the order of the answers.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds one more event.
    pub(crate) fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// Adds the clients to the simulation; their history is their own.
pub(crate) fn start(cluster: &mut Cluster, load: Load, changes: &Changes) -> History {
    start_from(0, cluster, load, changes)
}

/// Does the same with clients that are numbered from the first one on: others were there before.
pub(crate) fn start_from(first: u64, cluster: &mut Cluster, load: Load, changes: &Changes) -> History {
    let history = History::of(load.clients);
    for client in first..first + load.clients {
        cluster.add_clerk(format!("client-{client}"), run(client, load, history.clone(), changes.clone()));
    }
    history
}

/// Makes a clerk of this client of the history.
pub(crate) fn clerk(client: u64, deadline: Duration) -> anyhow::Result<RecordedClerk<fn() -> u64>> {
    let mut options = Options::manager(managers());
    options.connector = Some(net::connector());
    options.seed = Some(skv_disk::entropy::random_id());
    options.deadline = deadline;
    Ok(RecordedClerk::new(client, Clerk::connect(options)?, now))
}

/// Returns the time of a history, by one clock for hosts that were there from the beginning and others.
fn now() -> u64 {
    turmoil::sim_elapsed().unwrap_or_default().as_nanos() as u64
}

/// Reads each key of these histories once more, as another client, and returns all events.
pub(crate) fn read_back(
    cluster: &mut Cluster,
    client: u64,
    mut histories: Vec<History>,
) -> anyhow::Result<Vec<Event>> {
    let keys = histories.iter().flat_map(History::events).map(|event| event.key).collect();
    let last = read_all(cluster, client, keys);
    cluster.run("reading all keys", || last.is_complete(), Duration::from_mins(2))?;
    histories.push(last);
    Ok(histories.iter().flat_map(History::events).collect())
}

/// Adds a client that reads each of these keys once, as this client of the history.
fn read_all(cluster: &mut Cluster, client: u64, keys: BTreeSet<String>) -> History {
    let history = History::of(1);
    let read = history.clone();
    cluster.add_clerk("reader".to_owned(), async move {
        let clerk = clerk(client, Duration::from_mins(1))?;
        for key in keys {
            read.push(shortened(clerk.get(&key).await.0));
        }
        read.finished();
        Ok(())
    });
    history
}

async fn run(client: u64, load: Load, history: History, changes: Changes) -> turmoil::Result {
    let clerk = clerk(client, load.deadline)?;
    let mut rng = SmallRng::seed_from_u64(skv_disk::entropy::random_id());
    for count in 0..load.ops {
        if changes.are_enough() {
            break;
        }
        let key = format!("k{}", rng.random_range(0..load.keys));
        let token = Token { client, number: count.into() }.to_string();
        let event = match rng.random_range(0..10) {
            0..4 => clerk.get(&key).await.0,
            4..9 => clerk.append(&key, &token).await.0,
            _ => clerk.put(&key, &token, None).await.0,
        };
        history.push(event);
        tokio::time::sleep(rng.random_range(Duration::ZERO..load.pause)).await;
    }
    history.finished();
    Ok(())
}
