//! `skv up --detach`: the supervisor in the background.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use skv_local::data_dir::{DataDir, log_file, read_record};
use skv_local::ready;
use skv_local::record::Record;
use skv_local::screen::Screen;
use tokio::time::sleep;

use super::ends::{Ends, hopeless};
use super::scale;
use crate::output;
use crate::watching::unless_interrupted;

const POLL: Duration = Duration::from_millis(50);
/// The time without news after which somebody who waits is told how to see more.
const SLOW: Duration = Duration::from_secs(15);

/// The arguments of a start.
pub(super) struct Start<'a> {
    pub(super) manifest: &'a str,
    pub(super) path: &'a Path,
    pub(super) first_port: Option<u16>,
}

/// Starts this program once more as the supervisor, and returns when everything is ready and
/// there are as many groups as are asked for. Returns the directory.
pub(super) async fn run(
    start: &Start<'_>,
    groups: u32,
    patience: Duration,
    screen: &Screen,
) -> anyhow::Result<PathBuf> {
    // An unusable directory is refused here; the supervisor locks it again.
    let dir = DataDir::open(start.path)?.path().to_owned();
    let log = log_file(&dir, "supervisor");
    let (mut child, log_from) = start.supervisor(&dir, &log)?;
    let started = async {
        tokio::select! {
            record = wait_until_ready(&dir, child.id(), screen) => record,
            error = show_ends(&dir, child.id(), &log, screen) => Err(error),
            error = wait_for_end(&mut child, &log, log_from) => Err(error),
        }
    };
    let outcome = unless_interrupted(started, || goes_on("stopped waiting", &log)).await;
    screen.end();
    for line in notes(&log, log_from) {
        screen.say(&line);
    }
    let record = outcome??;
    screen.summary(&record, &dir);
    scale::run_until_stopped(&dir, groups, patience, screen).await?;
    Ok(dir)
}

impl Start<'_> {
    fn supervisor(&self, dir: &Path, log: &Path) -> anyhow::Result<(Child, u64)> {
        let this = std::env::current_exe().context("can't find out where this program is")?;
        let out = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
        let log_from = out.metadata()?.len();
        let mut command = Command::new(this);
        command.args(["up", "--supervise", "--file=-"]).arg("--data-dir").arg(dir);
        if let Some(port) = self.first_port {
            command.arg(format!("--first-port={port}"));
        }
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let mut child = command.spawn().context("can't start the supervisor")?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(self.manifest.as_bytes()) {
                // It has ended already; its log says why.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                written => written.context("can't hand the manifest to the supervisor")?,
            }
        }
        Ok((child, log_from))
    }
}

/// Returns the record once this supervisor has written it.
fn record_of(supervisor: u32, dir: &Path) -> anyhow::Result<Option<Record>> {
    let is_ours =
        |record: &Record| record.supervisor.as_ref().is_some_and(|process| process.pid == supervisor);
    Ok(read_record(dir)?.filter(is_ours))
}

async fn wait_until_ready(dir: &Path, supervisor: u32, screen: &Screen) -> anyhow::Result<Record> {
    let record = loop {
        match record_of(supervisor, dir)? {
            Some(record) => break record,
            None => sleep(POLL).await,
        }
    };
    ready::wait_for_all(&record.members, Some(screen)).await;
    read_record(dir)?.context("the record of the store has gone")
}

/// Shows why processes end, and returns an error once one has ended too often to hope for it.
async fn show_ends(dir: &Path, supervisor: u32, log: &Path, screen: &Screen) -> anyhow::Error {
    let (mut ends, mut quiet) = (Ends::default(), Duration::ZERO);
    loop {
        sleep(POLL).await;
        quiet += POLL;
        if quiet == SLOW {
            screen.say(&format!(
                "still waiting; Ctrl-C leaves it to go on in the background. More is in {}",
                log.with_file_name("").display()
            ));
        }
        let record = record_of(supervisor, dir).ok().flatten();
        let members = record.map(|record| record.members).unwrap_or_default();
        for line in ends.news(&members, dir) {
            quiet = Duration::ZERO;
            screen.say(&line);
        }
        if let Some(what) = members.iter().find_map(hopeless) {
            return goes_on(&what, log);
        }
    }
}

/// Returns the error of a start that isn't waited for any more.
fn goes_on(what: &str, log: &Path) -> anyhow::Error {
    let skv = output::this_command();
    anyhow::anyhow!(
        "{what}. The store goes on starting in the background: `{skv} status` shows it, `{skv} down` stops it, \
         and what happens is in {}",
        log.display()
    )
}

/// Returns what a supervisor logged about ports and about the store that commands use, which is for the
/// person who started it.
fn notes(log: &Path, log_from: u64) -> Vec<String> {
    let text = read_from(log, log_from).unwrap_or_default();
    let is_note = |line: &&str| line.starts_with("port ") || line.starts_with("commands ");
    text.lines().filter(is_note).map(str::to_owned).collect()
}

/// Waits until the supervisor has ended before everything was ready, and returns its last output as the
/// error.
async fn wait_for_end(child: &mut Child, log: &Path, log_from: u64) -> anyhow::Error {
    loop {
        match child.try_wait() {
            Ok(None) => sleep(POLL).await,
            Ok(Some(_)) => break,
            Err(error) => return error.into(),
        }
    }
    match read_from(log, log_from) {
        Ok(said) => anyhow::anyhow!("{}", said.rsplit("error: ").next().unwrap_or_default().trim()),
        Err(error) => error.into(),
    }
}

fn read_from(log: &Path, position: u64) -> std::io::Result<String> {
    let mut text = String::new();
    let mut file = std::fs::File::open(log)?;
    file.seek(SeekFrom::Start(position))?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
