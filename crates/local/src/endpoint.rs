//! The store that was started last, for commands that name none.

use std::path::PathBuf;

use crate::record::Record;
use crate::{data_dir, home};

/// A store that `skv up` runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The store's name.
    pub name: String,
    /// The store's data directory.
    pub data_dir: PathBuf,
    /// The address of its shard manager, `HOST:PORT`.
    pub manager: String,
}

/// Returns the store of the last `skv up`. An error names the remedy if none runs.
pub fn find() -> anyhow::Result<Endpoint> {
    let Some(current) = home::current()? else {
        anyhow::bail!(
            "no store is known: start one with `skv up -f FILE`, or name its shard manager with --manager HOST:PORT"
        );
    };
    let home::Current { name, data_dir } = current;
    let record = data_dir::read_record(&data_dir)?.filter(Record::is_running);
    match record.and_then(|record| record.manager_address()) {
        Some(manager) => Ok(Endpoint { name, data_dir, manager }),
        None => anyhow::bail!(
            "{name} in {} isn't running: start it with `skv up`, or name a shard manager with --manager HOST:PORT",
            data_dir.display()
        ),
    }
}
