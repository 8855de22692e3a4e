//! The addresses of a store that `skv up` runs on this machine.

use std::path::PathBuf;

use crate::data_dir;
use crate::home::Entry;
use crate::record::{Member, Record};
use crate::stores::{self, Choice};

/// A store that `skv up` runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The store's name.
    pub name: String,
    /// The store's data directory.
    pub data_dir: PathBuf,
    /// The address of its shard manager, `HOST:PORT`.
    pub manager: String,
    /// The addresses of its servers for users.
    pub servers: Vec<String>,
}

/// Returns the store that is named, which must run. An error names the remedy.
pub fn find(choice: Choice) -> anyhow::Result<Endpoint> {
    let Entry { name, data_dir } = stores::locate(choice)?;
    let record = data_dir::read_record(&data_dir)?.filter(Record::is_running);
    match record.and_then(|record| Some((record.manager_address()?, record))) {
        Some((manager, record)) => {
            let servers = record.members.iter().filter(|member| !member.is_manager());
            let servers = servers.map(Member::client_address).collect();
            Ok(Endpoint { name, data_dir, manager, servers })
        }
        None => anyhow::bail!(
            "{name} in {} isn't running: start it with `skv up`{}, or name a shard manager with --manager HOST:PORT",
            data_dir.display(),
            that_run(&name)
        ),
    }
}

/// The other choices, for people whose store doesn't run.
fn that_run(name: &str) -> String {
    let running = stores::running().unwrap_or_default();
    let names: Vec<String> =
        running.into_iter().map(|(entry, _)| entry.name).filter(|other| other != name).collect();
    match names.as_slice() {
        [] => String::new(),
        [other] => format!(", choose {other}, which runs, with `skv use {other}` or --store {other}"),
        others => format!(", choose another one with `skv use` or --store (running: {})", others.join(", ")),
    }
}
