//! Snapshots of leaders that no group has. A replica that is ahead of it is believed.

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::install_snapshot_request::{Message, Start};
use skv_raft::header::VERSIONS;
use skv_sharding::{ClusterId, MapRevision};
use skv_store::Store;

use super::entries;
use super::ports::Sent;
use super::snapshots::{self, Contents};
use super::world::{STRANGER, World};
use crate::draw::Draw;

/// The snapshots for each group: the first is valid.
const SNAPSHOTS: usize = 8;
/// The bytes of a chunk: several to a snapshot.
const CHUNK: usize = 300;

/// Returns snapshots of leaders that no group has, as they are sent.
pub(super) async fn snapshots(draw: &mut Draw, world: &World) -> anyhow::Result<Vec<Sent>> {
    let (messages, mut all) = (entries::known()?, Vec::new());
    for group in [0_usize, 1] {
        let status = world.status(group).await?;
        let header = header(&status);
        let contents = contents(&status, &header)?;
        for number in 0..SNAPSHOTS {
            let contents = contents.clone();
            let contents = if number == 0 { contents } else { snapshots::change(draw, &messages, contents)? };
            let Some((disk, file)) = snapshots::write(&contents).await? else { continue };
            let bytes = Bytes::from(snapshots::bytes_of(&disk, file.path())?);
            let start = start(&status, header.clone(), bytes.len());
            let chunks = (0..bytes.len()).step_by(CHUNK);
            let chunks = chunks.map(|at| Message::Chunk(bytes.slice(at..bytes.len().min(at + CHUNK))));
            let messages = [Message::Start(start)].into_iter().chain(chunks);
            let encode = |message| v1::InstallSnapshotRequest { message: Some(message) }.encode_to_vec();
            all.push(Sent::Call {
                address: world.peer(group).to_owned(),
                path: "/shardedkv.v1.Raft/InstallSnapshot".to_owned(),
                messages: messages.map(encode).map(Bytes::from).collect(),
            });
        }
    }
    Ok(all)
}

/// Returns the header of a snapshot that is ahead of the group. The replica stays its only voter.
fn header(status: &v1::ReplicaStatus) -> v1::SnapshotHeader {
    let (term, own) = (status.term + 1, status.replica);
    let last = v1::LogId { term, replica: STRANGER, index: 1_000_000 };
    let membership = v1::Membership {
        configs: vec![v1::membership::VoterSet { replicas: vec![own] }],
        members: vec![v1::membership::Member { replica: own, server: "kv-g0-0".to_owned() }],
    };
    v1::SnapshotHeader {
        last_log_id: Some(last),
        membership: Some(v1::StoredMembership { log_id: Some(last), membership: Some(membership) }),
        cluster_id: status.cluster_id,
        group_uid: status.group_uid,
        memory_bytes: 1000,
    }
}

fn start(status: &v1::ReplicaStatus, header: v1::SnapshotHeader, length: usize) -> Start {
    let peer = v1::PeerHeader {
        cluster_id: status.cluster_id,
        group: status.group,
        group_uid: status.group_uid,
        incarnation: status.incarnation,
        from: STRANGER,
        to: status.replica,
        versions: Some(VERSIONS),
        feature_level: 1,
    };
    Start {
        header: Some(peer),
        vote: Some(v1::RaftVote { term: status.term + 1, replica: STRANGER, committed: true }),
        last_log_id: header.last_log_id,
        membership: header.membership,
        length: length as u64,
        memory_bytes: 1000,
        ..Start::default()
    }
}

fn contents(status: &v1::ReplicaStatus, header: &v1::SnapshotHeader) -> anyhow::Result<Contents> {
    let record = v1::BootstrapRecord {
        group: status.group,
        group_uid: status.group_uid,
        shards_owned: (0..4).map(|shard| v1::ShardEpoch { shard, epoch: 1 }).collect(),
        shards: 8,
        hash: v1::Hash::Fnv1 as i32,
        ..v1::BootstrapRecord::default()
    };
    let store = Store::new(5);
    let found = skv_store::encode_found(1, ClusterId(status.cluster_id), record, MapRevision(1))?;
    store.apply(&found).context("a group is founded")?;
    store.apply(&skv_store::encode_batch(1, entries::usual_commands()))?;
    let items = store.view().into_items().map(|item| item.encode_to_vec()).collect();
    Ok(Contents { header: header.encode_to_vec(), items })
}
