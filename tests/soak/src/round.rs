//! A round: a cluster is started, clients work on it while faults strike and shards move, all comes
//! to rest, and the history is judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_checker::{Event, HistoryWriter, Outcome, judge};
use skv_process::{Cluster, Load, Settings};
use tokio::time::Instant;

use crate::faults::{Storm, prepare_disks};
use crate::report::{Notes, Report};
use crate::resharding;

const SHARDS: u32 = 12;
const CLIENTS: u64 = 6;
/// Half the number of keys: enough that a history can be judged although calls fail.
const KEYS: u32 = 24;

/// The plan of a round.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The time in which faults strike.
    pub(crate) lasts: Duration,
    /// The folder for the history and the logs if something is found.
    pub(crate) keep: PathBuf,
}

/// Runs a round, and returns its report.
pub(crate) async fn run(plan: Plan) -> Report {
    let notes = Notes::default();
    notes.lock().seed = plan.seed;
    // It has a task of its own: where the tests' tools wait in vain, they panic.
    let mut task = AbortOnDrop(tokio::spawn(play(plan, notes.clone())));
    let finding = match (&mut task.0).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(error) => Some(match error.try_into_panic() {
            Ok(panic) => panic.downcast::<String>().map_or_else(|_| "a panic".to_owned(), |text| *text),
            Err(error) => error.to_string(),
        }),
    };
    let mut report = notes.lock().clone();
    report.finding = finding;
    report
}

/// Ends a task, and with it the processes that it has started.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn play(plan: Plan, notes: Notes) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let groups = rng.random_range(2..=3);
    let settings = Settings { groups, shards: SHARDS, ..Settings::default() };
    let mut cluster = Cluster::new(&settings.server_flag("--snapshot-log-bytes", 256 << 10));
    prepare_disks(&mut cluster);
    cluster.manager.start();
    cluster.start_servers();
    let load = start(&cluster, groups).await;
    let changes = AbortOnDrop(tokio::spawn(resharding::run(
        cluster.manager_address.clone(),
        rng.random(),
        (groups, SHARDS),
        notes.clone(),
    )));
    let mut storm = Storm::new(rng, notes.clone());
    let raged = storm.rage(&mut cluster, Instant::now() + plan.lasts).await;
    drop(changes);
    let outcome = match raged {
        Ok(()) => end(&cluster, load, groups, &notes, &plan.keep).await,
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        keep_logs(&cluster, &plan.keep)?;
    }
    outcome
}

async fn start(cluster: &Cluster, groups: u32) -> Load {
    cluster.ready().await;
    cluster.founded(groups as usize).await;
    Load::start(cluster, CLIENTS, KEYS)
}

/// Waits for rest, and judges the history.
async fn end(cluster: &Cluster, load: Load, groups: u32, notes: &Notes, keep: &Path) -> anyhow::Result<()> {
    eprintln!("all faults have passed");
    cluster.ready().await;
    resharding::come_to_rest(cluster, groups, SHARDS).await?;
    eprintln!("all shards are at rest");
    let events = load.finish(cluster).await;
    {
        let mut notes = notes.lock();
        notes.operations = events.len();
        notes.failed = events.iter().filter(|event| event.outcome != Outcome::Ok).count();
    }
    let verdict = judge(&events, &skv_checker::Options::default());
    eprintln!("{verdict}");
    if !verdict.is_linearizable() {
        keep_history(&events, keep)?;
        bail!("{verdict}");
    }
    Ok(())
}

fn keep_history(events: &[Event], keep: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(keep)?;
    let history = HistoryWriter::create(keep.join("history.jsonl"))?;
    events.iter().try_for_each(|event| history.record(event))?;
    Ok(history.flush()?)
}

fn keep_logs(cluster: &Cluster, keep: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(keep)?;
    for entry in fs::read_dir(cluster.directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let name = path.file_name().context("a log has a name")?;
            fs::copy(&path, keep.join(name))?;
        }
    }
    Ok(())
}
