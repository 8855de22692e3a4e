//! `skv workload`: clients that each pick a random request on a random key, again and again.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use clap::ValueHint;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use skv_checker::{Event, HistoryWriter, Outcome as Ended, RecordedClerk};
use skv_client::Clerk;
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Let clients get, put and append their number on random keys, and print what happens.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv workload   5 clients, 20 requests each
  skv workload --ops 1000 --history run.jsonl
  skv workload --key K1 --server 127.0.0.1:4000

`cargo xtask check` judges a history, with --earlier-data if the keys had values before.

Keys that weren't there before are removed at the end. Two workloads at a time on the same keys need --keep.
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
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    history: Option<PathBuf>,
    /// Print only the first failure and the summary.
    #[arg(long, short)]
    quiet: bool,
    /// Leave the keys there.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    output: Output,
}

/// The result for programs.
#[derive(Serialize)]
struct Summary {
    answered: u64,
    refused: u64,
    unknown: u64,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
}

/// The number of keys that are looked at, or removed, at the same time.
const AT_ONCE: usize = 64;

/// The state that all clients share.
struct Run {
    args: Args,
    started: Instant,
    stop: AtomicBool,
    history: Option<HistoryWriter>,
    counts: Counts,
    first_failure: OnceLock<String>,
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    target.announce();
    let history = args.history.clone().map(HistoryWriter::create).transpose()?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let options = target.options().await?;
    let own = Clerk::connect(options.clone())?;
    let new_keys = if args.keep { Vec::new() } else { missing(&own, &args).await };
    let run = Arc::new(Run {
        started: Instant::now(),
        stop: AtomicBool::new(false),
        history,
        counts: Counts::default(),
        first_failure: OnceLock::new(),
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
        clients.push(tokio::spawn(Arc::clone(&run).client_until_failure(client, clerk, random)));
    }
    let mut ended = join_all(clients).await.into_iter();
    let ended = ended.try_for_each(|client| client.context("a client failed")?);
    stopper.abort();
    let flushed = run.history.as_ref().map_or(Ok(()), HistoryWriter::flush);
    // Whatever failed, the keys don't stay.
    remove(&own, &new_keys).await;
    ended?;
    flushed?;
    run.summarise(seed)
}

/// Returns the keys that aren't there. One of which nobody knows it counts as somebody's.
async fn missing(clerk: &Clerk, args: &Args) -> Vec<String> {
    let keys: Vec<String> = match &args.key {
        Some(key) => vec![key.clone()],
        None => (1..=args.keys).map(|index| format!("K{index}")).collect(),
    };
    let looks = keys.into_iter().map(|key| async move {
        let found = clerk.get(key.clone()).await;
        found.is_ok_and(|answer| !answer.found).then_some(key)
    });
    stream::iter(looks).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Removes keys. Where that fails, people are told.
async fn remove(clerk: &Clerk, keys: &[String]) {
    let removals = keys.iter().map(|key| clerk.delete(key.clone()));
    let failures = stream::iter(removals)
        .buffer_unordered(AT_ONCE)
        .filter_map(|removed| std::future::ready(removed.err()));
    if let Some(error) = std::pin::pin!(failures).next().await {
        let _ = writeln!(io::stderr(), "some keys can't be removed, and stay: {error}");
    }
}

impl Run {
    fn summarise(&self, seed: u64) -> anyhow::Result<Outcome> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { answered, refused, unknown } = &self.counts;
        let (answered, refused, unknown) = (count(answered), count(refused), count(unknown));
        let printed = match self.args.output.format {
            Format::Json => {
                let first_failure = self.first_failure.get().cloned();
                output::print_json(&Summary { answered, refused, unknown, seed, first_failure })
            }
            Format::Text => output::say(format_args!(
                "{answered} answered, {refused} refused, {unknown} unknown (seed {seed})"
            )),
        };
        output::even_unread(printed)?;
        Ok(if refused + unknown == 0 { Outcome::Done } else { Outcome::Failed })
    }

    /// A client that can't go on stops all others: somebody ended the output, or the history can't be written.
    async fn client_until_failure(
        self: Arc<Self>,
        client: u64,
        clerk: Clerk,
        random: SmallRng,
    ) -> anyhow::Result<()> {
        let ended = self.client(client, clerk, random).await;
        if ended.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        ended
    }

    async fn client(&self, client: u64, clerk: Clerk, mut random: SmallRng) -> anyhow::Result<()> {
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
        let answer = answer.unwrap_or_else(|error| {
            self.note_failure(&error.to_string());
            format!("failed: {error}")
        });
        self.say(clerk.client(), &request, &answer)?;
        Ok(event)
    }

    /// Shows the first failure at once where calls aren't shown: the clients go on, perhaps for long.
    fn note_failure(&self, error: &str) {
        if self.first_failure.set(error.to_owned()).is_ok() && !self.is_verbose() {
            let _ = writeln!(io::stderr(), "the first failure: {error}");
        }
    }

    fn is_verbose(&self) -> bool {
        !self.args.quiet && self.args.output.format == Format::Text
    }

    fn say(&self, client: u64, request: &str, answer: &str) -> anyhow::Result<()> {
        if !self.is_verbose() {
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
