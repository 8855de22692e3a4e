//! Snapshot files: those whose bytes are whole and say anything, as another replica may send them; and
//! those with other bytes than were written.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::MessageDescriptor;
use skv_disk::{Disk, MemoryDisk};
use skv_proto::v1;
use skv_snapshot::{SnapshotDir, SnapshotFile};
use skv_store::{ENTRY_VERSION, Store};
use tokio::runtime::Runtime;

use super::entries;
use super::found::found;
use super::runtime::runtime;
use crate::draw::Draw;
use crate::message::Messages;
use crate::raw;
use crate::trial::Trial;

/// The files of one round, of each of both.
const FILES: usize = 120;
/// The most changes of one file.
const CHANGES: usize = 3;
/// The memory of the places of as many shards as a cluster may have: a number says how many there are.
const PLACES: usize = 80 << 20;
const DIR: &str = "/snapshots";

/// A snapshot: a header and items, each encoded.
#[derive(Clone)]
pub(super) struct Contents {
    pub(super) header: Vec<u8>,
    pub(super) items: Vec<Vec<u8>>,
}

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    entries::teach(draw);
    let (messages, runtime) = (entries::known()?, runtime()?);
    let contents = contents()?;
    for _ in 0..FILES {
        let changed = change(draw, &messages, contents.clone())?;
        let all = changed.items.concat();
        let file = runtime.block_on(write(&changed))?;
        let read = found(trial.read_with("a snapshot that is whole", &all, PLACES, || {
            file.map(|(_, file)| restored(&file)).transpose()
        }))?;
        match read {
            Ok(Some(store)) => found(go_on(trial, &store, &all))?,
            Ok(None) | Err(_) => trial.refuse(),
        }
    }
    for _ in 0..FILES {
        damage(draw, trial, &runtime, &contents)?;
    }
    Ok(())
}

fn contents() -> anyhow::Result<Contents> {
    let store = entries::store()?;
    let header = v1::SnapshotHeader {
        last_log_id: Some(v1::LogId { term: 1, replica: 1, index: 9 }),
        membership: Some(v1::StoredMembership::default()),
        cluster_id: 5,
        group_uid: 77,
        memory_bytes: 1000,
    };
    let items = store.view().into_items().map(|item| item.encode_to_vec()).collect();
    Ok(Contents { header: header.encode_to_vec(), items })
}

/// Changes some items, or their order.
pub(super) fn change(
    draw: &mut Draw,
    messages: &Messages,
    mut contents: Contents,
) -> anyhow::Result<Contents> {
    let of = messages.of("shardedkv.v1.SnapshotItem")?;
    if draw.chance(15) {
        contents.header =
            changed(draw, messages, &messages.of("shardedkv.v1.SnapshotHeader")?, &contents.header);
    }
    for _ in 0..=draw.below(CHANGES) {
        let items = &mut contents.items;
        if items.is_empty() {
            break;
        }
        let (at, other) = (draw.below(items.len()), draw.below(items.len()));
        match draw.below(10) {
            0 => items.swap(at, other),
            1 => drop(items.remove(at)),
            2 => items.insert(at, items[other].clone()),
            3 => items.insert(at, messages.bytes(draw, &of)),
            _ => items[at] = changed(draw, messages, &of, &items[at]),
        }
    }
    Ok(contents)
}

fn changed(draw: &mut Draw, messages: &Messages, of: &MessageDescriptor, bytes: &[u8]) -> Vec<u8> {
    let Ok(mut message) = prost_reflect::DynamicMessage::decode(of.clone(), bytes) else {
        return bytes.to_vec();
    };
    messages.change(draw, &mut message);
    message.encode_to_vec()
}

/// Writes a file of contents that can be decoded; `None` if they can't be.
pub(super) async fn write(contents: &Contents) -> anyhow::Result<Option<(MemoryDisk, SnapshotFile)>> {
    let Ok(header) = v1::SnapshotHeader::decode(contents.header.as_slice()) else { return Ok(None) };
    let items: Result<Vec<_>, _> =
        contents.items.iter().map(|item| v1::SnapshotItem::decode(item.as_slice())).collect();
    let Ok(items) = items else { return Ok(None) };
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR))?;
    let dir = SnapshotDir::open(Arc::new(disk.clone()), DIR.into())?;
    let file = dir.write(header, items.into_iter()).await?;
    let kept = Arc::new(dir).keep(file).await?;
    Ok(Some((disk, kept)))
}

/// Makes a store of a snapshot, as a replica does that receives it.
fn restored(file: &SnapshotFile) -> Result<Store, String> {
    let store = Store::new(3);
    let mut restore = store.begin_restore();
    file.read(|item| restore.add(item).map_err(|error| error.to_string())).map_err(|e| e.to_string())?;
    drop(store.restore(restore.finish().map_err(|error| error.to_string())?));
    Ok(store)
}

/// A store of a snapshot that was taken is asked, and applies.
fn go_on(trial: &mut Trial, store: &Store, all: &[u8]) -> Result<(), String> {
    trial.read("a store of such a snapshot", all, || entries::use_all(store))?;
    let tick = v1::entry::Entry::Tick(v1::entry::Tick {});
    let commands = v1::CommandBatch { commands: entries::usual_commands() };
    for entry in [tick, v1::entry::Entry::Batch(commands)] {
        let entry = v1::Entry { version: ENTRY_VERSION, time: 700_000, entry: Some(entry) };
        let entry = Bytes::from(entry.encode_to_vec());
        trial.read("an entry after such a snapshot", all, || store.apply(&entry).is_ok())?;
    }
    trial.read("a snapshot after such a snapshot", all, || store.view().into_items().count())?;
    Ok(())
}

/// A file with other bytes than were written is noticed.
fn damage(draw: &mut Draw, trial: &mut Trial, runtime: &Runtime, contents: &Contents) -> anyhow::Result<()> {
    let (disk, file) = runtime.block_on(write(contents))?.context("the snapshot is valid")?;
    let path = file.path().to_owned();
    let written = bytes_of(&disk, &path)?;
    let mut bytes = written.clone();
    raw::change(draw, &mut bytes);
    drop(file);
    disk.remove(&path)?;
    disk.create(&path)?.write_all_at(&bytes, 0)?;
    let read = found(trial.read("a snapshot that is damaged", &bytes, || {
        let dir = SnapshotDir::open(Arc::new(disk), DIR.into()).map_err(|error| error.to_string())?;
        dir.current().map(|file| restored(&file)).transpose()
    }))?;
    match read {
        Err(_) => trial.refuse(),
        Ok(_) if bytes == written => {}
        Ok(_) => anyhow::bail!("damage isn't noticed\n{}", crate::trial::shown(&bytes)),
    }
    Ok(())
}

/// Returns the bytes of a file.
pub(super) fn bytes_of(disk: &MemoryDisk, path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
