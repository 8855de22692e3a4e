//! Keeps the processes of a store running until it is told to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use skv_resource::Manifest;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::binaries::Binaries;
use super::data_dir::DataDir;
use super::plan::{Launch, launch};
use super::process::ProcessId;
use super::record::Record;
use super::screen::Screen;
use super::{operations, ready};

/// How long a process may take to stop by itself.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Whoever ran this long before it ended starts again without a longer pause.
const STEADY: Duration = Duration::from_mins(1);

/// What has been told to stop. Servers before the shard manager, so that they can still
/// register what they hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Nothing,
    Servers,
    Everything,
    /// Without waiting.
    Now,
}

struct Supervisor {
    dir: DataDir,
    record: Mutex<Record>,
    screen: Screen,
    stop: watch::Receiver<Stop>,
}

/// Starts everything, shows when it is ready, and returns when it was told to stop and
/// everything has ended.
pub(super) async fn run(
    dir: DataDir,
    mut record: Record,
    resource: &Manifest,
    binaries: &Binaries,
    screen: &Screen,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    record.supervisor = ProcessId::of(std::process::id());
    dir.save(&record)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let launches: Vec<Launch> = record
        .members
        .iter()
        .map(|member| launch(resource, &record, member, dir.path(), binaries, processors))
        .collect();
    screen.begin(record.members.iter().map(|member| member.name.clone()));
    let (stop, stop_receiver) = watch::channel(Stop::Nothing);
    let (ready, mut all_ready) = mpsc::channel(record.members.len());
    let members = record.members.clone();
    let this =
        Arc::new(Supervisor { dir, record: Mutex::new(record), screen: screen.clone(), stop: stop_receiver });

    let (mut servers, mut manager, mut followers) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for (index, (member, launch)) in members.into_iter().zip(launches).enumerate() {
        let is_server = member.group().is_some();
        if is_server && resource.spec.server.log_operations {
            followers.spawn(operations::follow(member.name.clone(), launch.log.clone(), screen.clone()));
        }
        let keeper = Keeper {
            supervisor: Arc::clone(&this),
            index,
            name: member.name.clone(),
            http_address: member.http_address(),
            launch,
            stop_at: if is_server { Stop::Servers } else { Stop::Everything },
        };
        let tasks = if is_server { &mut servers } else { &mut manager };
        tasks.spawn(keeper.run(ready.clone()));
    }
    drop(ready);

    let show_when_ready = async {
        let mut count = 0;
        while all_ready.recv().await.is_some() {
            count += 1;
            if count == all_ready.max_capacity() {
                screen.end();
                screen.summary(&this.record(), this.dir.path());
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = signals.next() => {}
        () = show_when_ready => {}
    }
    screen.end();
    screen.say("stopping; once more stops without waiting");
    let stop_everything = async {
        stop.send_replace(Stop::Servers);
        servers.join_all().await;
        stop.send_replace(Stop::Everything);
        manager.join_all().await;
    };
    let stop_now = async {
        signals.next().await;
        stop.send_replace(Stop::Now);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = stop_everything => {}
        () = stop_now => {}
    }
    this.change_record(|record| record.supervisor = None)?;
    screen.say("stopped");
    Ok(())
}

impl Supervisor {
    fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change_record(&self, change: impl FnOnce(&mut Record)) -> anyhow::Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        self.dir.save(&record)
    }
}

/// Keeps one process running.
struct Keeper {
    supervisor: Arc<Supervisor>,
    index: usize,
    name: String,
    http_address: String,
    launch: Launch,
    stop_at: Stop,
}

impl Keeper {
    /// Tells once when the process is ready for the first time.
    async fn run(self, ready: mpsc::Sender<()>) {
        let mut first = Some(ready);
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let end = match self.start() {
                Ok(mut child) => {
                    let end = self.watch(&mut child, &mut first).await;
                    self.remember(None);
                    match end {
                        Some(end) => end,
                        None => return,
                    }
                }
                Err(error) => format!("can't be started: {error:#}"),
            };
            pause = if started.elapsed() >= STEADY { FIRST_PAUSE } else { pause };
            let Keeper { name, launch, .. } = &self;
            self.say(&format!(
                "{name} {end}; it is started again in {:.1} s. Its log: {}",
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
        let log = open_log(&self.launch.log)?;
        let mut command = Command::new(&self.launch.program);
        // A group of its own: Ctrl-C on the terminal reaches only the supervisor, which
        // stops the servers in order.
        command.args(&self.launch.arguments).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        for (name, _) in std::env::vars_os() {
            // Settings of this program, or of servers that somebody runs elsewhere.
            let text = name.to_string_lossy();
            if text.starts_with("SKV_") || text.starts_with("SHARDMANAGER_") {
                command.env_remove(name);
            }
        }
        let child =
            command.spawn().with_context(|| format!("can't start {}", self.launch.program.display()))?;
        self.remember(child.id().and_then(ProcessId::of));
        Ok(child)
    }

    /// Waits for the end of the process: how it ended, or `None` if it was told to stop.
    async fn watch(&self, child: &mut Child, first: &mut Option<mpsc::Sender<()>>) -> Option<String> {
        let screen = &self.supervisor.screen;
        let report_ready = async {
            let starts = first.take();
            ready::wait(&self.http_address, |reason| {
                if starts.is_some() {
                    screen.not_ready(&self.name, &reason);
                }
            })
            .await;
            match starts {
                Some(ready) => {
                    screen.ready(&self.name);
                    let _ = ready.send(()).await;
                }
                None => self.say(&format!("{} is ready again", self.name)),
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
        let mut stop = self.supervisor.stop.clone();
        tokio::select! {
            ended = timeout(STOP_WITHIN, child.wait()) => {
                if ended.is_ok() {
                    return;
                }
                self.say(&format!("{} doesn't stop: killing it", self.name));
            }
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
        }
        if let Err(error) = child.kill().await {
            self.say(&format!("can't kill {}: {error}", self.name));
        }
    }

    async fn told_to_stop(&self) {
        let mut stop = self.supervisor.stop.clone();
        // The sender lives as long as the supervisor waits for this task.
        let _ = stop.wait_for(|stop| *stop >= self.stop_at).await;
    }

    fn remember(&self, process: Option<ProcessId>) {
        let index = self.index;
        if let Err(error) = self.supervisor.change_record(|record| record.members[index].process = process) {
            self.say(&format!("{error:#}"));
        }
    }

    fn say(&self, line: &str) {
        self.supervisor.screen.say(line);
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("can't open the log {}", path.display()))
}

fn describe_end(status: io::Result<ExitStatus>, log: &Path) -> String {
    match status {
        Ok(status) if status.code().is_some_and(|code| code != 0) => {
            let said = last_line(log).map_or(String::new(), |line| format!(": {line}"));
            format!("ended with {status}{said}")
        }
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("can't be waited for: {error}"),
    }
}

/// The last thing that a process said.
pub(super) fn last_line(log: &Path) -> Option<String> {
    const TAIL: u64 = 4096;
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    text.lines().rfind(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}

/// What tells the supervisor to stop.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
