//! `skv up --detach`: the supervisor in the background.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use skv_local::data_dir::{DataDir, log_file, read_record};
use skv_local::ready;
use skv_local::record::Record;
use skv_local::screen::Screen;
use tokio::time::sleep;

use super::scale;
use crate::output;

const POLL: Duration = Duration::from_millis(50);

/// Starts this program once more as the supervisor, and returns when everything is ready and the
/// wanted number of groups is there.
pub(super) async fn run(manifest: &str, path: &Path, groups: u32, patience: Duration) -> anyhow::Result<()> {
    // Opening the directory here reports a bad one at once; the supervisor locks it again.
    let dir = DataDir::open(path)?.path().to_owned();
    let log = log_file(&dir, "supervisor");
    let (mut child, log_from) = start(manifest, &dir, &log)?;
    let screen = Screen::new(output::this_command(), true);
    screen.begin(std::iter::empty());
    let outcome = tokio::select! {
        record = wait_until_ready(&dir, child.id(), &screen) => record,
        error = wait_for_end(&mut child, &log, log_from) => Err(error),
    };
    screen.end();
    screen.summary(&outcome?, &dir);
    scale::run_until_stopped(&dir, groups, patience, &screen).await?;
    Ok(())
}

fn start(manifest: &str, dir: &Path, log: &Path) -> anyhow::Result<(Child, u64)> {
    let this = std::env::current_exe().context("can't find out where this program is")?;
    let out = OpenOptions::new().create(true).append(true).open(log)?;
    let log_from = out.metadata()?.len();
    let mut child = Command::new(this)
        .args(["up", "--supervise", "--file=-"])
        .arg("--data-dir")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("can't start the supervisor")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(manifest.as_bytes()).context("can't hand the manifest to the supervisor")?;
    }
    Ok((child, log_from))
}

async fn wait_until_ready(dir: &Path, supervisor: u32, screen: &Screen) -> anyhow::Result<Record> {
    let is_ours =
        |record: &Record| record.supervisor.as_ref().is_some_and(|process| process.pid == supervisor);
    let record = loop {
        match read_record(dir)?.filter(is_ours) {
            Some(record) => break record,
            None => sleep(POLL).await,
        }
    };
    ready::wait_for_all(&record.members, Some(screen)).await;
    read_record(dir)?.context("the record of the store has gone")
}

/// The supervisor ended before everything was ready: its last words are the error.
async fn wait_for_end(child: &mut Child, log: &Path, log_from: u64) -> anyhow::Error {
    loop {
        match child.try_wait() {
            Ok(None) => sleep(POLL).await,
            Ok(Some(_)) => break,
            Err(error) => return error.into(),
        }
    }
    let mut said = String::new();
    let read = std::fs::File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(log_from))?;
        file.read_to_string(&mut said)
    });
    match read {
        Ok(_) => anyhow::anyhow!("{}", said.trim().trim_start_matches("error: ")),
        Err(error) => error.into(),
    }
}
