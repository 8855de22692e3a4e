//! Clients that work on a cluster and record their calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_checker::{Event, Op, Outcome, RecordedClerk, Token, judge};
use skv_client::{Clerk, Error};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::eventually;

/// The usual pause of a client between two calls: a history of seconds stays readable.
const THINK: Duration = Duration::from_millis(2);

/// Collects the history of one test.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    events: Mutex<Vec<Event>>,
    acknowledged: AtomicU64,
}

impl Recorder {
    /// Makes an empty history that begins now.
    pub fn new() -> Arc<Recorder> {
        Arc::new(Recorder {
            start: Instant::now(),
            events: Mutex::default(),
            acknowledged: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn add(&self, event: Event) {
        if event.outcome == Outcome::Ok && event.op != Op::Get {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Returns the events that have been recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of mutations that have been acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more mutations are acknowledged.
    pub async fn more_acknowledged(&self, more: u64) {
        let goal = self.acknowledged() + more;
        let what = format!("{more} more acknowledged writes");
        eventually(&what, || async { (self.acknowledged() >= goal).then_some(()) }).await;
    }
}

/// A client: each of its calls stands in the history, whatever its outcome.
#[derive(Debug)]
pub struct Client {
    clerk: RecordedClerk<Box<dyn Fn() -> u64 + Send + Sync>>,
    recorder: Arc<Recorder>,
    tokens: u64,
}

impl Client {
    /// Makes a client of this number, which must be its own.
    pub fn new(id: u64, clerk: Clerk, recorder: &Arc<Recorder>) -> Client {
        let clock = Arc::clone(recorder);
        let clerk = RecordedClerk::new(id, clerk, Box::new(move || clock.now()) as _);
        Client { clerk, recorder: Arc::clone(recorder), tokens: 0 }
    }

    fn record<T>(&self, (event, _): (Event, Result<T, Error>)) -> Outcome {
        let outcome = event.outcome;
        self.recorder.add(event);
        outcome
    }

    /// Reads a key.
    pub async fn get(&self, key: &str) -> Outcome {
        self.record(self.clerk.get(key).await)
    }

    /// Appends this client's next token to a key.
    pub async fn append_token(&mut self, key: &str) -> Outcome {
        let token = Token { client: self.clerk.client(), number: self.tokens }.to_string();
        self.tokens += 1;
        self.record(self.clerk.append(key, &token).await)
    }

    /// Replaces the value of a key, under a condition if there is one.
    pub async fn put(&self, key: &str, value: &str, if_revision: Option<u64>) -> Outcome {
        self.record(self.clerk.put(key, value, if_revision).await)
    }

    /// Removes a key.
    pub async fn delete(&self, key: &str) -> Outcome {
        self.record(self.clerk.delete(key).await)
    }

    /// Makes one call of a random kind: tokens are appended to some keys; others are put,
    /// conditionally put and deleted.
    async fn random_call(&mut self, rng: &mut StdRng, keys: u32) {
        let index = rng.random_range(0..keys);
        if rng.random_bool(0.5) {
            let key = key_of_tokens(index);
            match rng.random_range(0..3) {
                0 => self.get(&key).await,
                _ => self.append_token(&key).await,
            };
            return;
        }
        let key = key_of_values(index);
        let value = format!("{}-{}", self.clerk.client(), rng.random::<u32>());
        match rng.random_range(0..6) {
            0 | 1 => self.get(&key).await,
            2 | 3 => self.put(&key, &value, None).await,
            4 => self.put(&key, &value, Some(rng.random_range(0..20))).await,
            _ => self.delete(&key).await,
        };
    }
}

/// Returns a key for tokens. Keys are decimal numbers, so that every hash takes them.
fn key_of_tokens(index: u32) -> String {
    (2 * index).to_string()
}

fn key_of_values(index: u32) -> String {
    (2 * index + 1).to_string()
}

/// A store that clients can work on.
pub trait Clerks {
    /// Makes a new clerk of it.
    fn clerk(&self) -> Clerk;

    /// Returns the time for which a client of a [`Load`] pauses between two calls.
    fn think_time(&self) -> Duration {
        THINK
    }
}

/// Clients that call at random until they are told to stop.
#[derive(Debug)]
pub struct Load {
    /// The history so far.
    pub recorder: Arc<Recorder>,
    keys: u32,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Has this many clients, each with a clerk of its own, work on twice this many keys.
    pub fn start(store: &impl Clerks, clients: u64, keys: u32) -> Load {
        let recorder = Recorder::new();
        let (stop, stopped) = watch::channel(false);
        let (think_time, mut tasks) = (store.think_time(), JoinSet::new());
        for id in 0..clients {
            let mut client = Client::new(id, store.clerk(), &recorder);
            let stopped = stopped.clone();
            tasks.spawn(async move {
                let mut rng = StdRng::seed_from_u64(id);
                while !*stopped.borrow() {
                    client.random_call(&mut rng, keys).await;
                    sleep(think_time).await;
                }
            });
        }
        Load { recorder, keys, stop, clients: tasks }
    }

    /// Has the clients finish their calls, reads every key once more, and returns the history.
    pub async fn finish(self, store: &impl Clerks) -> Vec<Event> {
        self.stop.send_replace(true);
        let mut clients = self.clients;
        while let Some(client) = clients.join_next().await {
            client.expect("a client doesn't panic");
        }
        let reader = Client::new(u64::MAX, store.clerk(), &self.recorder);
        for index in 0..self.keys {
            for key in [key_of_tokens(index), key_of_values(index)] {
                assert_eq!(reader.get(&key).await, Outcome::Ok, "{key} can be read at the end");
            }
        }
        self.recorder.events()
    }

    /// The same for a test in which no call may fail and the history must be proven right.
    pub async fn finish_right(self, store: &impl Clerks) -> Vec<Event> {
        let events = self.finish(store).await;
        assert_none_failed(&events);
        assert_linearizable(&events);
        events
    }
}

/// Panics if a call failed, or may have.
#[track_caller]
pub fn assert_none_failed(events: &[Event]) {
    let failed: Vec<&Event> = events.iter().filter(|event| event.outcome != Outcome::Ok).collect();
    assert!(failed.is_empty(), "{} of {} calls failed, such as {:?}", failed.len(), events.len(), failed[0]);
}

/// Panics with the judge's findings if the history isn't proven right.
#[track_caller]
pub fn assert_linearizable(events: &[Event]) {
    let verdict = judge(events, &skv_checker::Options::default());
    assert!(verdict.is_linearizable(), "{verdict}");
}
