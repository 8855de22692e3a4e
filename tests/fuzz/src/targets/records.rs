//! The shard manager's record: a file with other bytes than were written, and one whose checksum fits. A
//! record that is taken is worked with: replicas register, and people ask for changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use shardmanager::record::{GroupRecord, History, Limits, Record, Requests, RetiredGroups};
use shardmanager::rules::Change;
use shardmanager::store::{FileStore, MapStore as _, MemoryStore, StoreError};
use shardmanager::{Environment, Manager};
use skv_proto::v1;
use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Hash, MapRevision, Owner, Policy, Replica, ReplicaId, ShardId,
};

use super::found::found;
use super::manager::settings;
use super::runtime::runtime;
use crate::draw::Draw;
use crate::trial::Trial;
use crate::{json, raw};

/// The records of one round.
const RECORDS: usize = 150;
const FILE: &str = "shard-map";
const VERSION: u32 = 1;
const SHARDS: u32 = 4;
const CLUSTER: u64 = 7;

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    draw.numbers.extend([4, CLUSTER, 10, 11, 100, 101]);
    draw.words.extend(["0-3", "0-2/2", "1-3/2", "fnv1", "minimal", "kv-g0-0"].map(str::to_owned));
    let runtime = runtime()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join(FILE);
    let store = FileStore::open(directory.path())?.on_one_thread();
    for _ in 0..RECORDS {
        let mut value = serde_json::to_value(record())?;
        for _ in 0..=draw.below(3) {
            json::change(draw, &mut value);
        }
        let mut bytes = written(&value)?;
        let sealed = bytes.clone();
        if draw.chance(20) {
            raw::change(draw, &mut bytes);
        }
        std::fs::write(&file, &bytes)?;
        let loaded = found(trial.read("a record", &bytes, || runtime.block_on(store.load())))?;
        match loaded {
            Err(error @ StoreError::Io { .. }) => return Err(error.into()),
            Ok(Some(_)) if bytes != sealed => {
                anyhow::bail!("damage isn't noticed\n{}", crate::trial::shown(&bytes));
            }
            Ok(Some((record, _))) => {
                let worked = found(
                    trial.read("a record that is worked with", &bytes, || runtime.block_on(work(record))),
                )?;
                if worked.is_err() {
                    trial.refuse();
                }
            }
            Ok(None) | Err(_) => trial.refuse(),
        }
    }
    Ok(())
}

/// Returns the bytes of a record's file.
fn written(value: &Value) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_vec_pretty(value)?;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&VERSION.to_le_bytes()), &body);
    let line = format!("ShardedKV shard map, format {VERSION}, crc32c {sum:08x}\n");
    Ok([line.as_bytes(), &body].concat())
}

/// Runs a manager with a record.
async fn work(record: Record) -> anyhow::Result<()> {
    let settings = settings(2, SHARDS);
    let store = MemoryStore::default();
    store.replace(Some(record));
    let manager =
        Manager::open(settings, Arc::new(store), Environment::new(skv_disk::entropy::random_id)).await?;
    for request in registrations() {
        let _ = manager.register(request).await;
        let _ = manager.wire_map();
    }
    let changes = [
        Change::Rebalance,
        Change::Join(vec![GroupId(0), GroupId(1)]),
        Change::Move(ShardId(1), GroupId(0)),
        Change::Unpin(ShardId(1)),
        Change::Leave(vec![GroupId(1)]),
        Change::Remove(vec![GroupId(1)]),
    ];
    for (number, change) in changes.iter().enumerate() {
        let _ = manager.change("", change, true).await;
        let _ = manager.change(&number.to_string(), change, false).await;
    }
    if let Some(published) = manager.published() {
        let history = &published.record.history;
        for number in [0, 1, 2, history.oldest_number(), history.newest_number(), u64::MAX] {
            let _ = history.get(number);
        }
    }
    manager.refresh().await?;
    Ok(())
}

/// Returns registrations of replicas with data and without.
fn registrations() -> Vec<v1::RegisterReplicaRequest> {
    let report = |group: u32| v1::GroupReport {
        group_uid: 100 + u64::from(group),
        members: vec![replica(group).into()],
        shards_owned: vec![v1::ShardEpoch { shard: group, epoch: 1 }],
        obeyed_version: 1,
        shards: SHARDS,
        hash: v1::Hash::Fnv1 as i32,
        confirmed: true,
        term: 2,
        leader: 10 + u64::from(group),
        highest_epoch: 1,
        ..v1::GroupReport::default()
    };
    let request = |group: u32, report: Option<v1::GroupReport>| v1::RegisterReplicaRequest {
        group,
        replica: Some(replica(group).into()),
        cluster_id: report.as_ref().map_or(0, |_| CLUSTER),
        report,
        map_revision: 1,
    };
    vec![request(0, Some(report(0))), request(1, Some(report(1))), request(0, None), request(9, None)]
}

fn replica(group: u32) -> Replica {
    let server = format!("kv-g{group}-0");
    Replica {
        id: ReplicaId(10 + u64::from(group)),
        client_address: format!("{server}:1"),
        peer_address: format!("{server}:2"),
        server,
        instance: "i".to_owned(),
    }
}

/// Returns a record of two groups of one replica each.
fn record() -> Record {
    let owners = [0, 1, 0, 1].map(GroupId);
    let mut history = History::default();
    history.push(vec![GroupId(0)], &[GroupId(0); 4]);
    history.push(vec![GroupId(0), GroupId(1)], &owners);
    let group = |id: u32| {
        let shards =
            (0..).map(ShardId).zip(owners).filter(|(_, owner)| owner.0 == id).map(|(shard, _)| shard);
        GroupRecord::founded(GroupUid(100 + u64::from(id)), vec![replica(id)], shards.collect(), Epoch(1))
    };
    Record {
        cluster: ClusterId(CLUSTER),
        revision: MapRevision(1),
        hash: Hash::Fnv1,
        limits: Limits::DEFAULT,
        groups: [(GroupId(0), group(0)), (GroupId(1), group(1))].into(),
        owners: owners.map(|group| Owner { group, epoch: Epoch(1) }).into(),
        history,
        policy: Policy::Minimal,
        pins: [(ShardId(0), GroupId(0))].into(),
        moves: BTreeMap::new(),
        epoch: Epoch(1),
        requests: Requests::default(),
        retired: RetiredGroups::default(),
    }
}
