//! The output of `skv up`: a live line on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use skv_sharding::{GroupId, Hash};

use crate::record::{Member, Record, Role};

/// The columns of a terminal that the number of ready processes and a `^C` take.
const TAKEN: usize = 24;

/// The stream on which lines are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    #[default]
    Out,
    /// Standard error, where standard output has a document for programs.
    Err,
}

/// The place where lines are shown; clones share it.
#[derive(Debug, Clone)]
pub struct Screen {
    /// The live line; hidden where there is no terminal.
    bar: ProgressBar,
    waiting: Arc<Mutex<BTreeMap<String, String>>>,
    /// True if the store runs on when the terminal is gone.
    detached: bool,
    stream: Stream,
    /// The name by which the command line is called.
    skv: String,
}

impl Screen {
    /// Returns a screen of the command line that is called `skv`; `detached` if the store runs on when the
    /// terminal is gone.
    pub fn new(skv: String, detached: bool, stream: Stream) -> Screen {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {pos}/{len} ready  {msg:.dim}") {
            bar.set_style(style);
        }
        Screen { bar, waiting: Arc::default(), detached, stream, skv }
    }

    /// Returns the name by which the command line is called.
    pub fn skv(&self) -> &str {
        &self.skv
    }

    /// Returns true if the store runs on when the terminal is gone.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached
    }

    /// Returns the stream on which lines are shown.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Shows a line. If nobody reads it any more, that is no reason to stop.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = match self.stream {
                Stream::Out => writeln!(io::stdout(), "{line}"),
                Stream::Err => writeln!(io::stderr(), "{line}"),
            };
        });
    }

    /// Begins to show the number of these processes that are ready.
    pub fn begin(&self, names: impl Iterator<Item = String>) {
        let mut waiting = self.waiting();
        *waiting = names.map(|name| (name, "starting".to_owned())).collect();
        self.bar.reset();
        self.bar.set_length(waiting.len() as u64);
        // A second target would forget the line that the first one drew.
        if self.bar.is_hidden() && !waiting.is_empty() {
            let (is_terminal, target) = match self.stream {
                Stream::Out => (io::stdout().is_terminal(), ProgressDrawTarget::stdout()),
                Stream::Err => (io::stderr().is_terminal(), ProgressDrawTarget::stderr()),
            };
            if is_terminal {
                self.bar.set_draw_target(target);
                self.bar.enable_steady_tick(Duration::from_millis(100));
            }
        }
    }

    /// Shows the reason why a process isn't ready.
    pub fn not_ready(&self, name: &str, reason: &str) {
        if self.bar.is_hidden() && reason != "starting" {
            self.say(&format!("{name}: {reason}"));
        }
        self.waiting().insert(name.to_owned(), reason.to_owned());
        self.update();
    }

    /// Shows that a process is ready; when all are, the live line is removed.
    pub fn ready(&self, name: &str) {
        if self.bar.is_hidden() {
            self.say(&format!("{name}: ready"));
        }
        self.bar.inc(1);
        self.forget(name);
    }

    /// Waits no longer for this process.
    pub fn forget(&self, name: &str) {
        self.waiting().remove(name);
        self.update();
        if self.waiting().is_empty() {
            self.end();
        }
    }

    /// Removes the live line.
    pub fn end(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn update(&self) {
        let waiting = self.waiting();
        let texts: Vec<String> = waiting.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        // A line that reached the edge would leave its beginning behind when somebody presses Ctrl-C.
        let room = Table::new().width().map_or(usize::MAX, |width| usize::from(width).saturating_sub(TAKEN));
        self.bar.set_message(texts.join("  ").chars().take(room).collect::<String>());
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the processes with their addresses, and commands to try.
    pub fn summary(&self, record: &Record, dir: &Path) {
        for line in processes(record) {
            self.say(&line);
        }
        let skv = &self.skv;
        let key = if record.shape.hash == Hash::Integer { "12" } else { "greeting" };
        let stop = if self.detached { format!("{skv} down stops it") } else { "Ctrl-C stops it".to_owned() };
        let kept = if record.shape.memory_only {
            format!("Logs are in {}; data is in memory only, and gone when it stops; {stop}.", dir.display())
        } else {
            format!("Data and logs are in {}; {stop}.", dir.display())
        };
        self.say(&format!(
            "{} is ready on 127.0.0.1. {kept}\n\nTry:\n  {skv} put {key} hello\n  {skv} get {key}\n  \
             {skv} append {key} ', world'\n  {skv} status",
            record.shape.name,
        ));
    }
}

/// Returns the groups of a process, as the table of processes names them.
pub fn groups_of(record: &Record, member: &Member) -> String {
    match member.role {
        Role::Manager => "manager".to_owned(),
        Role::Server { group, .. } => group.to_string(),
        Role::RingServer { place, .. } => {
            let groups = record.shape.ring().map(|ring| ring.groups_of(place).collect::<Vec<_>>());
            GroupId::list(groups.iter().flatten())
        }
    }
}

/// Returns the lines of a table of a store's processes, with their ports.
pub fn processes(record: &Record) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["GROUP", "SERVER", "GRPC", "PEER", "HTTP", "PID"]);
    for member in &record.members {
        let peer = match member.role {
            Role::Manager => String::new(),
            Role::Server { peer_port, .. } | Role::RingServer { peer_port, .. } => peer_port.to_string(),
        };
        let pid = member.process.as_ref().filter(|process| process.is_alive());
        let pid = pid.map_or("-".to_owned(), |process| process.pid.to_string());
        let (client, http) = (member.client_port.to_string(), member.http_port.to_string());
        table.add_row([groups_of(record, member), member.name.clone(), client, peer, http, pid]);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}
