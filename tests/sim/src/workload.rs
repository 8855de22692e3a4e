//! Clerks that call on random keys and note what they see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_checker::{Event, RecordedClerk, Token};
use skv_client::{Clerk, Options};

use crate::cluster::{Cluster, managers};
use crate::net;

const KEYS: u32 = 5;

/// What all clients saw so far.
#[derive(Debug, Clone)]
pub(crate) struct History {
    events: Arc<Mutex<Vec<Event>>>,
    expected: usize,
}

impl History {
    /// Whether every client has made all its calls.
    pub(crate) fn is_complete(&self) -> bool {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len() >= self.expected
    }

    /// What was seen, in the order of the answers.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// Adds the clients to the simulation.
pub(crate) fn start(cluster: &mut Cluster, clients: u64, ops: u32) -> History {
    let history = History { events: Arc::default(), expected: (clients * u64::from(ops)) as usize };
    for client in 0..clients {
        let history = history.clone();
        cluster.sim.client(format!("client-{client}"), run(client, ops, history));
    }
    history
}

fn now() -> u64 {
    turmoil::elapsed().as_nanos() as u64
}

async fn run(client: u64, ops: u32, history: History) -> turmoil::Result {
    let mut options = Options::manager(managers());
    options.connector = Some(net::connector());
    options.seed = Some(kvserver::entropy::random_id());
    options.deadline = Duration::from_mins(1);
    let clerk = RecordedClerk::new(client, Clerk::connect(options)?, now);
    let mut rng = SmallRng::seed_from_u64(kvserver::entropy::random_id());
    for count in 0..ops {
        let key = format!("k{}", rng.random_range(0..KEYS));
        let token = Token { client, number: count.into() }.to_string();
        let event = match rng.random_range(0..10) {
            0..4 => clerk.get(&key).await.0,
            4..9 => clerk.append(&key, &token).await.0,
            _ => clerk.put(&key, &token, None).await.0,
        };
        history.push(event);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..200))).await;
    }
    Ok(())
}
