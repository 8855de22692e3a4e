//! Keeps one process running until it is ordered to stop.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use skv_sharding::GroupId;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::data_dir::{DataDir, Presence};
use crate::launch::Launch;
use crate::private;
use crate::process::ProcessId;
use crate::ready;
use crate::record::{Member, Record, Role};
use crate::screen::Screen;

/// The time that a process may take to stop by itself.
pub const STOP_WITHIN: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The run time after which a process that ended starts again without a longer pause.
const STEADY: Duration = Duration::from_mins(1);

/// The part of the store that is ordered to stop. Servers stop before the shard manager, so that they can
/// still register with it the leadership that they hand over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    #[default]
    Nothing,
    Servers,
    Everything,
    /// Everything, without waiting.
    Now,
}

/// The orders for all keepers.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) stop: Stop,
    /// The groups whose servers must stop in any case.
    pub(crate) leaving: BTreeSet<GroupId>,
}

/// The state that the keepers of a store share.
pub(crate) struct Store {
    pub(crate) dir: DataDir,
    pub(crate) screen: Screen,
    record: Mutex<Record>,
}

impl Store {
    pub(crate) fn new(dir: DataDir, record: Record, screen: Screen) -> Store {
        Store { dir, screen, record: Mutex::new(record) }
    }

    pub(crate) fn record(&self) -> Record {
        self.lock().clone()
    }

    /// Changes the record, in memory and in the data directory.
    pub(crate) fn change_record(
        &self,
        change: impl FnOnce(&mut Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut record = self.lock();
        let mut next = record.clone();
        change(&mut next)?;
        *record = next;
        // Nothing is written where another store may be by now.
        if self.dir.presence() == Presence::Here { self.dir.save(&record) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one process running.
pub(crate) struct Keeper {
    pub(crate) store: Arc<Store>,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) member: Member,
    pub(crate) launch: Launch,
}

impl Keeper {
    /// Keeps the process running, and drops `starting` when it is ready for the first time.
    pub(crate) async fn run(self, starting: mpsc::Sender<Infallible>) {
        let mut starting = Some(starting);
        let mut pause = FIRST_PAUSE;
        for again in std::iter::once(false).chain(std::iter::repeat(true)) {
            let started = Instant::now();
            let end = match self.start() {
                Ok(mut child) => {
                    let end = self.watch(&mut child, &mut starting, again).await;
                    self.remember(|member| {
                        member.process = None;
                        if let Some(end) = &end {
                            member.has_ended(end);
                        }
                    });
                    match end {
                        Some(end) => end,
                        None => return,
                    }
                }
                Err(error) => {
                    let end = format!("can't be started: {error:#}");
                    self.remember(|member| member.has_ended(&end));
                    end
                }
            };
            pause = if started.elapsed() >= STEADY { FIRST_PAUSE } else { pause };
            let Keeper { member, launch, .. } = &self;
            self.say(&format!(
                "{} {end}; it is started again in {:.1} s. Its log: {}",
                member.name,
                pause.as_secs_f32(),
                launch.log.display()
            ));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.told_to_stop() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn start(&self) -> anyhow::Result<Child> {
        // A server would make the directory again that somebody has removed.
        anyhow::ensure!(self.store.dir.presence() == Presence::Here, "its data directory is gone");
        let log = open_log(&self.launch.log)?;
        let mut command = Command::new(&self.launch.program);
        // The process has a process group of its own: Ctrl-C on the terminal reaches only the supervisor,
        // which stops the servers in order.
        command.args(&self.launch.arguments).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        for (name, _) in std::env::vars_os() {
            // These are settings of this program, or of servers that a person runs elsewhere.
            let text = name.to_string_lossy();
            if text.starts_with("SKV_") {
                command.env_remove(name);
            }
        }
        let child =
            command.spawn().with_context(|| format!("can't start {}", self.launch.program.display()))?;
        let process = child.id().and_then(ProcessId::of);
        self.remember(|member| member.process = process);
        Ok(child)
    }

    /// Waits for the end of the process. Returns the way in which it ended, or `None` if it was ordered to
    /// stop.
    async fn watch(
        &self,
        child: &mut Child,
        starting: &mut Option<mpsc::Sender<Infallible>>,
        again: bool,
    ) -> Option<String> {
        let (screen, name) = (&self.store.screen, &self.member.name);
        let report_ready = async {
            ready::wait(&self.member.http_address(), |reason| {
                if starting.is_some() {
                    screen.not_ready(name, &reason);
                }
            })
            .await;
            if starting.take().is_some() {
                screen.ready(name);
            }
            // The line is shown also if the process wasn't seen ready before it ended: others may have
            // seen it.
            if again {
                self.remember(|member| member.ended = None);
                self.say(&format!("{name} is ready again"));
            }
            std::future::pending().await
        };
        tokio::select! {
            status = child.wait() => Some(describe_end(status, &self.launch.log)),
            () = self.told_to_stop() => {
                self.stop(child).await;
                None
            }
            end = report_ready => end,
        }
    }

    async fn stop(&self, child: &mut Child) {
        if let Some(process) = child.id().and_then(ProcessId::of) {
            process.signal(Signal::TERM);
        }
        let mut orders = self.orders.clone();
        tokio::select! {
            ended = timeout(STOP_WITHIN, child.wait()) => {
                if ended.is_ok() {
                    return;
                }
                self.say(&format!("{} doesn't stop: killing it", self.member.name));
            }
            _ = orders.wait_for(|orders| orders.stop == Stop::Now) => {}
        }
        if let Err(error) = child.kill().await {
            self.say(&format!("can't kill {}: {error}", self.member.name));
        }
    }

    async fn told_to_stop(&self) {
        let mut orders = self.orders.clone();
        // The sender lives as long as the supervisor waits for this task.
        let _ = orders.wait_for(|orders| self.is_to_stop(orders)).await;
    }

    fn is_to_stop(&self, orders: &Orders) -> bool {
        match self.member.role {
            Role::Manager => orders.stop >= Stop::Everything,
            Role::Server { group, .. } => orders.stop >= Stop::Servers || orders.leaving.contains(&group),
            Role::RingServer { .. } => orders.stop >= Stop::Servers,
        }
    }

    fn remember(&self, change: impl FnOnce(&mut Member)) {
        let remembered = self.store.change_record(|record| {
            let ours = record.members.iter_mut().find(|member| member.name == self.member.name);
            if let Some(member) = ours {
                change(member);
            }
            Ok(())
        });
        if let Err(error) = remembered {
            self.say(&format!("{error:#}"));
        }
    }

    fn say(&self, line: &str) {
        self.store.screen.say(line);
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    private::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("can't open the log {}", path.display()))
}

fn describe_end(status: io::Result<ExitStatus>, log: &Path) -> String {
    match status {
        Ok(status) if status.code().is_some_and(|code| code != 0) => {
            let said = last_words(log).map_or(String::new(), |line| format!(": {line}"));
            format!("ended with {status}{said}")
        }
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("can't be waited for: {error}"),
    }
}

/// Returns the last line that a process logged, but for those of a backtrace.
fn last_words(log: &Path) -> Option<String> {
    const TAIL: u64 = 64 << 10;
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    text.lines().map(str::trim).rfind(|line| tells_something(line)).map(str::to_owned)
}

/// Returns false for an empty line, and for one of a backtrace, such as `29: _start` and `at src/main.rs:7:5`.
fn tells_something(line: &str) -> bool {
    let is_frame = line.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    let is_of_backtrace = line.starts_with("at ")
        || line.starts_with("note: ")
        || line.eq_ignore_ascii_case("stack backtrace:");
    !line.is_empty() && !is_frame && !is_of_backtrace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_not_those_of_a_backtrace() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let text = "2026 INFO it starts\nError: the shard map is damaged\n\nStack backtrace:\n   0: \
                    anyhow::error::new\n             at /src/error.rs:10:5\n  29: _start\nnote: some details are \
                    left out\n\n";
        std::fs::write(log.path(), text).unwrap();
        assert_eq!(last_words(log.path()).as_deref(), Some("Error: the shard map is damaged"));
        std::fs::write(log.path(), "\n").unwrap();
        assert_eq!(last_words(log.path()), None);
    }
}
