//! `skv workload`: clients that each pick a random request on a random key, again and again.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use futures::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_checker::{Event, HistoryWriter, Outcome as Ended, RecordedClerk};
use skv_client::Clerk;
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::output;
use crate::target::Target;

/// Let clients get, put and append their number on random keys, and print what happens.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv workload                                   5 clients, 20 requests each
  skv workload --ops 1000 --history run.jsonl    for `cargo xtask check`; with --earlier-data
                                                 if the keys had values before
  skv workload --key K1 --server 127.0.0.1:4000  one key, one server, no shard manager
")]
pub(crate) struct Args {
    /// The number of clients, which are numbered from 1.
    #[arg(long, value_name = "N", default_value_t = 5)]
    clients: u64,
    /// The number of requests that each client sends.
    #[arg(long, value_name = "N", default_value_t = 20)]
    ops: u64,
    /// The number of keys: K1, K2, ...
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Use this one key.
    #[arg(long, conflicts_with = "keys")]
    key: Option<String>,
    /// The same seed makes the clients pick the same requests.
    #[arg(long)]
    seed: Option<u64>,
    /// Write every call to this file, a line of JSON each, for the checker.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Print only the summary.
    #[arg(long, short)]
    quiet: bool,
}

/// The state that all clients share.
struct Run {
    args: Args,
    started: Instant,
    stop: AtomicBool,
    history: Option<HistoryWriter>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let history = args.history.clone().map(HistoryWriter::create).transpose()?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let options = target.options()?;
    let run = Arc::new(Run {
        started: Instant::now(),
        stop: AtomicBool::new(false),
        history,
        counts: Counts::default(),
        args,
    });
    let stopper = tokio::spawn({
        let run = Arc::clone(&run);
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                run.stop.store(true, Ordering::Relaxed);
            }
        }
    });
    let mut clients = Vec::new();
    for client in 1..=run.args.clients {
        let clerk = Clerk::connect(options.clone())?;
        let random = SmallRng::seed_from_u64(seed.wrapping_add(client));
        clients.push(tokio::spawn(Arc::clone(&run).client(client, clerk, random)));
    }
    for client in join_all(clients).await {
        client.context("a client failed")??;
    }
    stopper.abort();
    if let Some(history) = &run.history {
        history.flush()?;
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (answered, refused, unknown) =
        (count(&run.counts.answered), count(&run.counts.refused), count(&run.counts.unknown));
    output::say(format_args!("{answered} answered, {refused} refused, {unknown} unknown (seed {seed})"))?;
    Ok(if refused + unknown == 0 { Outcome::Done } else { Outcome::Failed })
}

impl Run {
    async fn client(self: Arc<Self>, client: u64, clerk: Clerk, mut random: SmallRng) -> anyhow::Result<()> {
        let clerk = RecordedClerk::new(client, clerk, || self.now());
        for _ in 0..self.args.ops {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let key = match &self.args.key {
                Some(key) => key.clone(),
                None => format!("K{}", random.random_range(1..=self.args.keys)),
            };
            let event = self.call(&clerk, &key, &mut random).await?;
            let counter = match event.outcome {
                Ended::Ok => &self.counts.answered,
                Ended::Refused => &self.counts.refused,
                Ended::Unknown => &self.counts.unknown,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(history) = &self.history {
                history.record(&event)?;
            }
        }
        Ok(())
    }

    /// Returns a request in words, its result in words, and the event.
    async fn call<Now: Fn() -> u64>(
        &self,
        clerk: &RecordedClerk<Now>,
        key: &str,
        random: &mut SmallRng,
    ) -> anyhow::Result<Event> {
        let number = clerk.client().to_string();
        let (request, event, answer) = match random.random_range(0..3) {
            0 => {
                let (event, answer) = clerk.get(key).await;
                (format!("Get {key}"), event, answer.map(|answer| format!("{:?}", lossy(&answer.value))))
            }
            1 => {
                let (event, answer) = clerk.put(key, &number, None).await;
                (format!("Put {key} {number:?}"), event, answer.map(|_| "success".to_owned()))
            }
            _ => {
                let (event, answer) = clerk.append(key, &number).await;
                let before = answer.map(|answer| format!("{:?} before", lossy(&answer.old_value)));
                (format!("Append {key} {number:?}"), event, before)
            }
        };
        let answer = answer.unwrap_or_else(|error| format!("failed: {error}"));
        self.say(clerk.client(), &request, &answer)?;
        Ok(event)
    }

    fn say(&self, client: u64, request: &str, answer: &str) -> anyhow::Result<()> {
        if self.args.quiet {
            return Ok(());
        }
        output::say(format_args!("client {client}: {request} -> {answer}"))
    }

    /// Returns the nanoseconds since the run began.
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
