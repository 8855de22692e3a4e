//! The small files of a server: a replica's identity, and the copy of the shard map. JSON behind a line
//! with a checksum, which fits or doesn't.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use skv_disk::checked_file::{self, ReadError};
use skv_disk::{Disk, MemoryDisk};
use skv_net::Addresses;
use skv_replica::map_copy::MapCopy;
use skv_replica::{Belongs, Identity};
use skv_sharding::{
    ClusterId, Epoch, Group, GroupId, GroupUid, Hash, Incarnation, MapRevision, Owner, Replica, ReplicaId,
    ShardId, ShardMap,
};

use super::found::found;
use super::runtime::runtime;
use super::snapshots::bytes_of;
use crate::draw::Draw;
use crate::trial::Trial;
use crate::{json, raw};

/// The files of one round, of each kind.
const FILES: usize = 500;
const IDENTITY: &str = "skv-identity/1";
const MAP: &str = "skv-map-copy/1";
const PATH: &str = "/file";

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    let runtime = runtime()?;
    for _ in 0..FILES {
        let mut value = serde_json::to_value(identity())?;
        json::change(draw, &mut value);
        let disk = runtime.block_on(disk_with(IDENTITY, &value))?;
        let bytes = bytes_of(&disk, Path::new(PATH))?;
        let read = found(trial.read("an identity", &bytes, || {
            let read = checked_file::read::<Identity>(&disk, Path::new(PATH), IDENTITY);
            read.is_ok_and(|identity| identity.is_some_and(|identity| identity.place().is_some()))
        }))?;
        if !read {
            trial.refuse();
        }
    }
    for _ in 0..FILES {
        let mut value = serde_json::to_value(map())?;
        for _ in 0..=draw.below(3) {
            json::change(draw, &mut value);
        }
        let disk = runtime.block_on(disk_with(MAP, &value))?;
        let bytes = bytes_of(&disk, Path::new(PATH))?;
        found(trial.read("a copy of the map", &bytes, || use_map(disk)))?;
    }
    for _ in 0..FILES {
        damage(draw, trial, &runtime.block_on(disk_with(MAP, &serde_json::to_value(map())?))?)?;
    }
    Ok(())
}

/// A file with other bytes than were written is noticed.
fn damage(draw: &mut Draw, trial: &mut Trial, disk: &MemoryDisk) -> anyhow::Result<()> {
    let path = Path::new(PATH);
    let written = bytes_of(disk, path)?;
    let mut bytes = written.clone();
    raw::change(draw, &mut bytes);
    disk.remove(path)?;
    disk.create(path)?.write_all_at(&bytes, 0)?;
    let read =
        found(trial.read("a damaged file", &bytes, || checked_file::read::<ShardMap>(disk, path, MAP)))?;
    match read {
        Err(ReadError::Io { source, .. }) => return Err(source.into()),
        Err(_) => trial.refuse(),
        Ok(_) if bytes == written => {}
        Ok(_) => anyhow::bail!("damage isn't noticed\n{}", crate::trial::shown(&bytes)),
    }
    Ok(())
}

async fn disk_with(format: &str, value: &Value) -> anyhow::Result<MemoryDisk> {
    let disk = MemoryDisk::new();
    checked_file::write(&disk, Path::new(PATH), format, value).await?;
    Ok(disk)
}

/// Opens a copy, and asks it for all that servers ask.
fn use_map(disk: MemoryDisk) {
    let addresses = Arc::new(Addresses::fixed([]));
    let copy = MapCopy::open(Arc::new(disk), PATH.into(), addresses);
    for key in ["", "key", "12", "-7"] {
        let _ = copy.owner_of(key.as_bytes());
    }
    let shards = [0, 1, 3, u32::MAX].map(ShardId);
    let _ = shards.map(|shard| copy.owner(shard));
    let _ = copy.members(GroupId(0));
    let _ = copy.to_wire().map(|map| map.ranges.len());
}

fn identity() -> Identity {
    let belongs = Belongs { cluster: ClusterId(5), uid: GroupUid(77), incarnation: Incarnation(1) };
    Identity { replica: ReplicaId(9), group: GroupId(0), belongs: Some(belongs) }
}

fn map() -> ShardMap {
    let replica = Replica {
        id: ReplicaId(9),
        server: "kv-g0-0".to_owned(),
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
        instance: "i".to_owned(),
    };
    let group = Group { uid: GroupUid(77), incarnation: Incarnation(1), replicas: vec![replica] };
    ShardMap {
        cluster: ClusterId(5),
        revision: MapRevision(3),
        configuration: 1,
        hash: Hash::Fnv1,
        owners: vec![Owner { group: GroupId(0), epoch: Epoch(1) }; 4],
        groups: [(GroupId(0), group)].into(),
    }
}
