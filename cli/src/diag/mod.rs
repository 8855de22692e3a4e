//! `skv diag`.
//!
//! - `archive`: the file that is written; `redact`: what is left out of it (pure)
//! - `versions`: those of the store's programs

mod archive;
mod redact;
mod versions;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueHint;
use futures::future::join_all;
use skv_local::data_dir::{log_files, read_record};
use tokio::time::timeout;

use crate::kubernetes::Store;
use crate::outcome::Outcome;
use crate::process::{Process, page};
use crate::target::Target;
use crate::{complaint, output, status};

/// The number of lines of each log in Kubernetes.
const LINES: usize = 20_000;
/// The bytes of the end of each log of this machine.
const LOG_BYTES: usize = 4 << 20;

/// Write one archive about a store for a bug report: status, shard map, logs, metrics and versions; in Kubernetes
/// also its objects and Events.
///
/// Values of environment variables are left out, and Secrets and the data aren't read. Logs name addresses and
/// ids, so look into the archive before you publish it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 everything is in it, 1 something couldn't be read: the archive says what.

Examples:
  skv diag
  skv diag --file report.tar.gz
")]
pub(crate) struct Args {
    /// The archive [default: skv-diag-TIME.tar.gz in this directory].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

/// The contents of the archive, and what is missing of it.
#[derive(Default)]
struct Report {
    files: Vec<(String, Vec<u8>)>,
    missing: Vec<String>,
}

impl Report {
    /// Adds a file, or the reason why it isn't there.
    fn add(&mut self, name: impl Into<String>, content: anyhow::Result<impl Into<Vec<u8>>>) {
        let name = name.into();
        match content {
            Ok(content) => self.files.push((name, content.into())),
            Err(error) => self.missing.push(format!("{name}: {}", complaint::text(&error))),
        }
    }
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let now = now();
    let root = format!("skv-diag-{now}");
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{root}.tar.gz")));
    let mut report = collect(target).await?;
    let missing = report.missing.iter().fold(String::new(), |all, line| all + line + "\n");
    report.add("missing.txt", Ok(missing));
    archive::write(&path, &root, &report.files, now)?;
    for (name, content) in &report.files {
        output::say(format_args!("{name}  {}", output::bytes(content.len() as u64)))?;
    }
    for line in &report.missing {
        output::say(format_args!("missing: {line}"))?;
    }
    output::say(format_args!(
        "{} has all of this. Values of environment variables, Secrets and data are left out",
        path.display()
    ))?;
    Ok(if report.missing.is_empty() { Outcome::Done } else { Outcome::Failed })
}

/// Returns the time in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "nothing here is simulated")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn collect(target: &Target) -> anyhow::Result<Report> {
    let mut report = Report::default();
    // A store that nobody knows is a mistake on the command line, and no finding.
    let processes = target.processes().await?;
    let map = target.shard_map().await;
    report.add("versions.txt", Ok(versions::text(target, map.as_ref().ok()).await));
    report.add("status.json", status::as_json(target).await);
    report.add("map.txt", map.map(|map| format!("{map:#?}\n")));
    for (name, metrics) in metrics(target, &processes).await {
        report.add(format!("metrics/{name}.txt"), metrics);
    }
    match target.in_cluster() {
        Some(store) => of_cluster(store, &processes, &mut report).await,
        None => of_this_machine(&target.local()?.data_dir, &mut report)?,
    }
    Ok(report)
}

/// Asks all processes for their metrics at the same time.
async fn metrics(target: &Target, processes: &[Process]) -> Vec<(String, anyhow::Result<Vec<u8>>)> {
    join_all(processes.iter().map(async |process| {
        let asked = page(target.connector(), &process.http_address, "/metrics");
        let answer = match timeout(target.timeout(), asked).await {
            Ok(answer) => answer.map(|(_, text)| text.to_vec()),
            Err(_) => Err(anyhow::anyhow!("{} doesn't answer", process.http_address)),
        };
        (process.name.clone(), answer)
    }))
    .await
}

async fn of_cluster(store: &Store, processes: &[Process], report: &mut Report) {
    for (kind, objects) in store.objects().await {
        let text = objects.and_then(|mut objects| {
            redact::redact(&mut objects);
            Ok(serde_json::to_string_pretty(&objects)?)
        });
        report.add(format!("objects/{kind}.json"), text);
    }
    for Process { name, .. } in processes {
        let mut log = Vec::new();
        let read = store.show_logs(Some(name.as_str()), LINES, false, |_, _, text| {
            log.extend_from_slice(text);
            Ok(())
        });
        let read = read.await;
        report.add(format!("logs/{name}.log"), read.map(|()| log));
    }
}

fn of_this_machine(data_dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let record = read_record(data_dir).and_then(|record| {
        let mut record = serde_json::to_value(&record)?;
        redact::redact(&mut record);
        Ok(serde_json::to_string_pretty(&record)?)
    });
    report.add("record.json", record);
    for path in log_files(data_dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read(&path).map_err(anyhow::Error::from);
        report.add(format!("logs/{name}"), text.map(|text| end(&text).to_vec()));
    }
    Ok(())
}

/// Returns the end of a log.
fn end(text: &[u8]) -> &[u8] {
    &text[text.len().saturating_sub(LOG_BYTES)..]
}
