//! `skv stores`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use skv_local::data_dir::read_record;
use skv_local::home::{self, Entry};
use skv_local::process::ProcessId;
use skv_local::record::{Member, Record};
use skv_local::screen;
use skv_local::stores::{self, Choice};

use crate::completions;
use crate::fitting::{Cell, Column, Grid};
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};

/// List the stores of this machine, or the processes of one with their ports.
///
/// The store with a star is the one that commands use if they name none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv stores
  skv stores quickstart    its processes, their ports and their numbers
  skv stores -o json       all of this
")]
pub(crate) struct Args {
    /// Show the processes of this store.
    #[arg(add = completions::stores())]
    name: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// A store for programs.
#[derive(Debug, Serialize)]
pub(crate) struct Store {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    running: bool,
    /// True for the store that commands use if they name none.
    current: bool,
    groups: usize,
    replicas: u32,
    memory_only: bool,
    manager_address: Option<String>,
    pub(crate) processes: Vec<Process>,
}

/// A process for programs.
#[derive(Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) client_address: String,
    peer_address: Option<String>,
    http_address: String,
    pub(crate) pid: Option<u32>,
    /// The way in which it ended by itself, if it wasn't ready again since.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let current = home::current().ok().flatten().map(|entry| entry.data_dir);
    let entries = match &args.name {
        Some(name) => vec![stores::locate(Choice::Name(name))?],
        None => stores::all()?,
    };
    let read = |entry: Entry| -> anyhow::Result<(Entry, Record)> {
        let record = read_record(&entry.data_dir)?.context("its record has gone")?;
        Ok((entry, record))
    };
    let found: Vec<(Entry, Record)> = entries.into_iter().map(read).collect::<anyhow::Result<_>>()?;
    match (args.output.format, args.name.is_some(), found.as_slice()) {
        (Format::Json, true, [(entry, record)]) => {
            output::print_json(&Store::new(entry, record, current.as_deref()))?;
        }
        (Format::Json, ..) => {
            let all = found.iter().map(|(entry, record)| Store::new(entry, record, current.as_deref()));
            output::print_json(&all.collect::<Vec<_>>())?;
        }
        (Format::Text, true, [(entry, record)]) => print_processes(entry, record)?,
        (Format::Text, ..) if found.is_empty() => {
            output::say("there is no store on this machine: `skv up -f FILE` starts one")?;
        }
        (Format::Text, ..) => print_stores(&found, current.as_deref())?,
    }
    Ok(Outcome::Done)
}

impl Store {
    pub(crate) fn new(entry: &Entry, record: &Record, current: Option<&Path>) -> Store {
        Store {
            name: entry.name.clone(),
            data_dir: entry.data_dir.clone(),
            running: record.is_running(),
            current: current == Some(&entry.data_dir),
            groups: record.groups().len(),
            replicas: record.shape.replicas,
            memory_only: record.shape.memory_only,
            manager_address: record.manager_address().filter(|_| record.is_running()),
            processes: record.members.iter().map(Process::new).collect(),
        }
    }
}

impl Process {
    fn new(member: &Member) -> Process {
        let running = member.process.as_ref().filter(|process| process.is_alive());
        Process {
            name: member.name.clone(),
            client_address: member.client_address(),
            peer_address: member.peer_address(),
            http_address: member.http_address(),
            pid: running.map(|process| process.pid),
            problem: member.ended.as_ref().map(|ended| ended.last.clone()),
        }
    }
}

fn print_stores(found: &[(Entry, Record)], current: Option<&Path>) -> anyhow::Result<()> {
    let column = |name, leaves| Column { name, leaves };
    let mut grid = Grid::new([
        column("", 0),
        column("STORE", 0),
        column("STATE", 0),
        column("GROUPS", 2),
        column("REPLICAS", 1),
        column("MANAGER", 3),
        column("DIRECTORY", 4),
    ]);
    for (entry, record) in found {
        let is_supervised = record.supervisor.as_ref().is_some_and(ProcessId::is_alive);
        let state = match (record.is_running(), is_supervised) {
            (true, true) => "running",
            // Its supervisor was killed.
            (true, false) => "left running",
            (false, _) => "stopped",
        };
        grid.add_row([
            Cell::new(if current == Some(&entry.data_dir) { "*" } else { " " }),
            Cell::new(&entry.name),
            Cell::new(state),
            Cell::new(record.groups().len()),
            Cell::new(record.shape.replicas),
            Cell::known(record.manager_address().filter(|_| record.is_running())),
            Cell::new(entry.data_dir.display()),
        ]);
    }
    output::print_grid(&grid)
}

fn print_processes(entry: &Entry, record: &Record) -> anyhow::Result<()> {
    for line in screen::processes(record) {
        output::say(line)?;
    }
    for member in &record.members {
        if let Some(ended) = &member.ended {
            output::say(format_args!("{} {}", member.name, ended.last))?;
        }
    }
    if let Some(problem) = &record.problem {
        output::say(format_args!("the groups can't be changed yet: {problem}"))?;
    }
    output::say(format_args!("Data and logs are in {}", entry.data_dir.display()))
}
