//! The stores of this machine, and the choice among them.
//!
//! Those in the home directory are found there; a list remembers the others, which were started with a
//! data directory of their own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::data_dir::{lock_file, read_record};
use crate::home::{self, Entry};
use crate::private;
use crate::record::{Member, Record};

const ELSEWHERE: &str = "stores.json";
const LOCK: &str = "stores.lock";

/// The way in which a command names a store of this machine.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// It names none.
    Current,
    /// By the store's name.
    Name(&'a str),
    /// By the store's data directory.
    Directory(&'a Path),
    /// By addresses of its shard manager or its servers.
    Addresses(&'a [String]),
}

/// Returns the store that is named, whether it runs or not.
pub fn locate(choice: Choice) -> anyhow::Result<Entry> {
    match choice {
        Choice::Directory(path) => {
            let record = read_record(path)?.with_context(|| {
                format!("there is no store in {}: start one with `skv up -f FILE`", path.display())
            })?;
            Ok(Entry { name: record.shape.name, data_dir: absolute(path) })
        }
        Choice::Name(name) => named(name),
        Choice::Addresses(addresses) => by_address(addresses),
        Choice::Current => home::current()?.with_context(|| {
            let others = names(&all().unwrap_or_default());
            let choose =
                others.map_or(String::new(), |others| format!(", choose one with `skv use` ({others})"));
            format!(
                "no store is known: start one with `skv up -f FILE`{choose}, or name its shard manager with \
                 --manager HOST:PORT"
            )
        }),
    }
}

/// Returns all stores, sorted by name. What can't be read is none.
pub fn all() -> anyhow::Result<Vec<Entry>> {
    let in_home = home::home().and_then(|home| std::fs::read_dir(home).ok());
    let in_home = in_home.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let elsewhere = elsewhere()?.into_iter().chain(home::current()?.map(|entry| entry.data_dir));
    let entries = in_home.chain(elsewhere).filter_map(|path| {
        let record = read_record(&path).ok().flatten()?;
        Some((absolute(&path), record.shape.name))
    });
    let by_path: BTreeMap<PathBuf, String> = entries.collect();
    let entries = by_path.into_iter().map(|(data_dir, name)| Entry { name, data_dir });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by(|a, b| (&a.name, &a.data_dir).cmp(&(&b.name, &b.data_dir)));
    Ok(entries)
}

/// Returns the stores of which a process runs, each with its record.
pub fn running() -> anyhow::Result<Vec<(Entry, Record)>> {
    let with_record = |entry: Entry| {
        let record = read_record(&entry.data_dir).ok().flatten()?;
        record.is_running().then_some((entry, record))
    };
    Ok(all()?.into_iter().filter_map(with_record).collect())
}

/// Remembers a store that is started, and has commands mean it if they name none. Returns the store that
/// they meant before, if it is another one and runs.
pub fn start(entry: &Entry) -> anyhow::Result<Option<Entry>> {
    let before = home::current().ok().flatten().filter(|before| before.data_dir != entry.data_dir);
    home::set_current(entry)?;
    remember(entry)?;
    let runs =
        |entry: &Entry| read_record(&entry.data_dir).ok().flatten().is_some_and(|record| record.is_running());
    Ok(before.filter(runs))
}

/// Adds a store to the list, unless it is found without that.
pub fn remember(entry: &Entry) -> anyhow::Result<()> {
    let path = &entry.data_dir;
    if path.parent() == home::home().as_deref().map(absolute).as_deref() {
        return Ok(());
    }
    let _turn = turn()?;
    let mut list = elsewhere()?;
    // Those that are gone were stores once.
    list.retain(|other| other != path && read_record(other).is_ok_and(|record| record.is_some()));
    list.push(path.clone());
    home::write(ELSEWHERE, &list)
}

/// Returns the directory where a store of this name was started, else the default one.
pub fn started(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(current) = home::current()?.filter(|current| current.name == name) {
        return Ok(current.data_dir);
    }
    let known: Vec<Entry> = all()?.into_iter().filter(|entry| entry.name == name).collect();
    match <[Entry; 1]>::try_from(known) {
        Ok([entry]) => Ok(entry.data_dir),
        Err(_) => home::data_dir(name),
    }
}

fn named(name: &str) -> anyhow::Result<Entry> {
    let (mut found, others): (Vec<Entry>, Vec<Entry>) =
        all()?.into_iter().partition(|entry| entry.name == name);
    match (found.pop(), found.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (Some(last), false) => {
            let places = found.iter().chain([&last]).map(|entry| entry.data_dir.display().to_string());
            bail!(
                "several stores are called {name}: name the directory of one with --data-dir ({})",
                places.collect::<Vec<_>>().join(", ")
            )
        }
        (None, _) => {
            let others = names(&others).map_or(String::new(), |others| format!("; there are {others}"));
            bail!("there is no store {name} on this machine{others}: `skv up -f FILE` starts one")
        }
    }
}

fn by_address(addresses: &[String]) -> anyhow::Result<Entry> {
    let is_theirs = |member: &Member| addresses.iter().any(|address| is_address_of(address, member));
    let found = running()?.into_iter().find(|(_, record)| record.members.iter().any(is_theirs));
    found.map(|(entry, _)| entry).with_context(|| {
        format!(
            "{} belongs to no store that runs on this machine: name one with --store NAME or --data-dir DIR \
             (`skv stores` lists them)",
            addresses.join(", ")
        )
    })
}

fn is_address_of(address: &str, member: &Member) -> bool {
    let port = member.client_port.to_string();
    let hosts = ["127.0.0.1", "localhost"];
    hosts.iter().any(|host| address.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) == Some(&port))
}

/// The directories outside of the home directory.
fn elsewhere() -> anyhow::Result<Vec<PathBuf>> {
    Ok(home::read(ELSEWHERE)?.unwrap_or_default())
}

/// The right to change the list, until it is dropped.
fn turn() -> anyhow::Result<File> {
    let home = home::home().context("there is no home directory")?;
    private::create_dir_all(&home).with_context(|| format!("can't make {}", home.display()))?;
    let lock = lock_file(&home, LOCK)?;
    lock.lock().with_context(|| format!("can't lock {}", home.join(LOCK).display()))?;
    Ok(lock)
}

fn names(entries: &[Entry]) -> Option<String> {
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use skv_sharding::GroupId;

    use super::*;
    use crate::record::Shape;

    #[test]
    fn a_member_is_found_by_its_address_for_users() {
        let yaml = "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}}";
        let shape = Shape::of(&skv_resource::parse(yaml).unwrap());
        let mut manager = Record::new(shape, &[GroupId(0)].into()).members.swap_remove(0);
        manager.client_port = 7400;
        for (address, expected) in [
            ("127.0.0.1:7400", true),
            ("localhost:7400", true),
            ("127.0.0.1:740", false),
            ("127.0.0.1:74000", false),
            ("db:7400", false),
        ] {
            assert_eq!(is_address_of(address, &manager), expected, "{address}");
        }
    }
}
