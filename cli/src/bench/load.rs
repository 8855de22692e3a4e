//! The clients.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_client::{Clerk, Error};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::keys::key;
use super::meter::Meter;
use super::settings::{Args, Mix};
use super::stop::Stop;
use crate::output;

/// The number of parts of the meter in an open loop, so that requests don't queue for it.
const METERS: usize = 16;
/// The precision with which requests start in an open loop.
const PACE: Duration = Duration::from_micros(100);

/// The settings that every client needs.
#[derive(Clone)]
struct Work {
    clerk: Clerk,
    mix: Mix,
    keys: Arc<[Bytes]>,
    value: Bytes,
    window: Window,
    stop: Stop,
    /// Requests that have ended, for the progress bar.
    ended: Arc<AtomicU64>,
}

/// The time that is measured.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

/// Sends requests until the time is over, or somebody stops it. Returns the seconds that were measured.
pub(super) async fn run(clerk: &Clerk, args: &Args, stop: &Stop) -> anyhow::Result<(Meter, f64)> {
    let from = Instant::now() + args.warmup;
    let work = Work {
        clerk: clerk.clone(),
        mix: args.mix,
        keys: (0..args.keys).map(|index| Bytes::from(key(index))).collect(),
        value: Bytes::from(vec![b'v'; args.value_size]),
        window: Window { from, to: from + args.duration },
        stop: stop.clone(),
        ended: Arc::default(),
    };
    let progress = tokio::spawn(show_progress(work.window, args.warmup, Arc::clone(&work.ended)));
    let meter = match args.rate {
        Some(rate) => open_loop(&work, rate).await,
        None => closed_loop(&work, args.clients).await,
    };
    progress.abort();
    // The bar must be gone before anything else is printed.
    let _ = progress.await;
    Ok((meter?, work.seconds()))
}

async fn closed_loop(work: &Work, clients: u32) -> anyhow::Result<Meter> {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let work = work.clone();
        running.spawn(async move {
            let mut meter = Meter::new()?;
            let mut random = SmallRng::seed_from_u64(rand::random());
            loop {
                let start = Instant::now();
                if start >= work.end() {
                    return Ok(meter);
                }
                let outcome = work.request(&mut random).await;
                work.record(&mut meter, outcome, start);
            }
        });
    }
    let mut sum = Meter::new()?;
    while let Some(meter) = running.join_next().await {
        let meter: anyhow::Result<Meter> = meter.context("a client failed")?;
        sum.add(&meter?)?;
    }
    Ok(sum)
}

async fn open_loop(work: &Work, rate: u32) -> anyhow::Result<Meter> {
    let meters = (0..METERS).map(|_| Meter::new().map(Mutex::new)).collect::<Result<Arc<[_]>, _>>()?;
    let pacer = {
        let (work, meters) = (work.clone(), Arc::clone(&meters));
        let runtime = tokio::runtime::Handle::current();
        // A thread of its own: tokio's timers are only exact to a millisecond.
        tokio::task::spawn_blocking(move || pace(&work, rate, &meters, &runtime))
    };
    let mut running = pacer.await.context("the pacing thread failed")?;
    while let Some(ended) = running.join_next().await {
        ended.context("a request failed")?;
    }
    let mut sum = Meter::new()?;
    for meter in meters.iter() {
        sum.add(&meter.lock().unwrap_or_else(PoisonError::into_inner))?;
    }
    Ok(sum)
}

/// Starts each request at its time, or as soon as possible after it.
fn pace(
    work: &Work,
    rate: u32,
    meters: &Arc<[Mutex<Meter>]>,
    runtime: &tokio::runtime::Handle,
) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let (first, mut random) = (Instant::now(), SmallRng::seed_from_u64(rand::random()));
    for number in 0_u64.. {
        let start = first + Duration::from_secs_f64(number as f64 / f64::from(rate));
        if start >= work.end() {
            break;
        }
        while let Some(early) = start.checked_duration_since(Instant::now()).filter(|early| !early.is_zero())
        {
            std::thread::sleep(early.max(PACE));
        }
        let (work, meters) = (work.clone(), Arc::clone(meters));
        let mut random = SmallRng::seed_from_u64(random.random());
        running.spawn_on(
            async move {
                let outcome = work.request(&mut random).await;
                let mut meter =
                    meters[number as usize % METERS].lock().unwrap_or_else(PoisonError::into_inner);
                work.record(&mut meter, outcome, start);
            },
            runtime,
        );
        while running.try_join_next().is_some() {}
    }
    running
}

impl Work {
    /// Returns the end of the measurement, which may come early.
    fn end(&self) -> Instant {
        self.stop.at().map_or(self.window.to, |stopped| stopped.min(self.window.to))
    }

    fn seconds(&self) -> f64 {
        self.end().saturating_duration_since(self.window.from).as_secs_f64()
    }

    async fn request(&self, random: &mut SmallRng) -> Result<(), Error> {
        let key = self.keys[random.random_range(0..self.keys.len())].clone();
        let reads = match self.mix {
            Mix::Get => true,
            Mix::Put => false,
            Mix::Mixed => random.random(),
        };
        if reads {
            self.clerk.get(key).await.map(drop)
        } else {
            self.clerk.put(key, self.value.clone()).await.map(drop)
        }
    }

    /// Counts a request that should have started at `start` and ends now.
    fn record(&self, meter: &mut Meter, outcome: Result<(), Error>, start: Instant) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let window = Window { to: self.end(), ..self.window };
        if window.counts(outcome.is_ok(), start, now) {
            meter.record(outcome, now - start);
        }
    }
}

impl Window {
    /// Returns true if a request counts that should have started at `start` and ended at `end`: an answer if all of it
    /// was measured, since it is part of the throughput, and a failure unless it was over before.
    fn counts(self, is_answered: bool, start: Instant, end: Instant) -> bool {
        if is_answered { start >= self.from && end <= self.to } else { end >= self.from }
    }
}

async fn show_progress(window: Window, warmup: Duration, ended: Arc<AtomicU64>) {
    let started = window.from - warmup;
    let total = window.to - started;
    let bar = Cleared(ProgressBar::new(total.as_millis() as u64));
    // The text before and behind the bar.
    let room = output::bar_width().unwrap_or_default().saturating_sub(45).clamp(1, 40);
    let template = format!("{{msg:32}} {{bar:{room}.cyan}} {{elapsed}}/{{prefix}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.0.set_style(style);
    }
    bar.0.set_prefix(format!("{}s", total.as_secs()));
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let (mut before, mut then) = (0, Instant::now());
    loop {
        let now = tick.tick().await;
        let count = ended.load(Ordering::Relaxed);
        let rate = (count - before) as f64 / (now - then).as_secs_f64().max(0.001);
        (before, then) = (count, now);
        let phase = if now < window.from { "warming up" } else { "measuring" };
        bar.0.set_message(format!("{phase} {rate:>12.0}/s"));
        bar.0.set_position((now - started).as_millis() as u64);
    }
}

/// A bar that is erased when it is dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_counts_but_those_of_the_warm_up() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let window = Window { from: at(2), to: at(4) };
        for (start, end, answer, failure) in [
            (0, 1, false, false),
            (1, 3, false, true),
            (1, 9, false, true),
            (2, 4, true, true),
            (3, 9, false, true),
        ] {
            let counted = [true, false].map(|is_answered| window.counts(is_answered, at(start), at(end)));
            assert_eq!(counted, [answer, failure], "from {start} to {end}");
        }
    }
}
