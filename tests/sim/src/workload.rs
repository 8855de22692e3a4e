//! Clerks that call on random keys and note what they see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_checker::{Event, Token};
use skv_client::{Clerk, Error, Options};

use crate::cluster::{Cluster, MANAGER};
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
    let mut options = Options::manager([MANAGER]);
    options.connector = Some(net::connector());
    options.seed = Some(kvserver::entropy::random_id());
    options.deadline = Duration::from_mins(1);
    let clerk = Clerk::connect(options)?;
    let mut rng = SmallRng::seed_from_u64(kvserver::entropy::random_id());
    for count in 0..ops {
        let key = format!("k{}", rng.random_range(0..KEYS));
        let event = match rng.random_range(0..10) {
            0..4 => get(&clerk, client, key).await,
            4..9 => append(&clerk, client, key, count).await,
            _ => put(&clerk, client, key, count).await,
        };
        history.push(event);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..200))).await;
    }
    Ok(())
}

async fn get(clerk: &Clerk, client: u64, key: String) -> Event {
    let event = Event::get(client, key.clone(), now());
    match clerk.get(key).await {
        Ok(a) => event.got(String::from_utf8_lossy(&a.value), a.revision.0, now()),
        Err(error) => failed(event, &error),
    }
}

async fn put(clerk: &Clerk, client: u64, key: String, count: u32) -> Event {
    let value = Token { client, number: count.into() }.to_string();
    let event = Event::put(client, key.clone(), value.clone(), now());
    match clerk.put(key, value).await {
        Ok(a) => event.stored(a.success, a.revision.0, now()),
        Err(error) => failed(event, &error),
    }
}

async fn append(clerk: &Clerk, client: u64, key: String, count: u32) -> Event {
    let token = Token { client, number: count.into() }.to_string();
    let event = Event::append(client, key.clone(), token.clone(), now());
    match clerk.append(key, token).await {
        Ok(a) => event.appended(String::from_utf8_lossy(&a.old_value), a.found, a.revision.0, now()),
        Err(error) => failed(event, &error),
    }
}

fn failed(event: Event, error: &Error) -> Event {
    match error {
        Error::AlreadyApplied { revision } => event.already_applied(revision.0, now()),
        Error::OutcomeUnknown(_) => event.unknown(now()),
        Error::Invalid(_) | Error::Refused(_) | Error::Unreachable(_) | Error::Deadline(_) => {
            event.refused(now())
        }
    }
}
