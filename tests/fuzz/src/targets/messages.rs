//! The decoder of each message that is sent or stored, and what is made of a message before anything is
//! done about it.

use bytes::Bytes;
use prost::Message;
use skv_proto::lab::v1 as lab;
use skv_proto::v1::append_entries_request::Message as Appended;
use skv_proto::v1::install_snapshot_request::Message as Installed;
use skv_proto::{Error, Shaped, check_size, v1};
use skv_raft::types::{LogId, StoredMembership, Vote};
use skv_raft::wire::Wire as _;
use skv_raft::{append, judge};
use skv_sharding::{ClusterId, MapRevision, ReplicaId, ShardMap};
use skv_store::{HandoffStep, Limits};

use super::found::found;
use crate::draw::Draw;
use crate::message::{self, Messages};
use crate::trial::Trial;

/// The inputs of one round.
const INPUTS: usize = 4000;
/// The share of messages with a list of very many elements, in percent: they are decoded, and no more.
const SWOLLEN: u32 = 2;

/// Reads the bytes of a message; false: they are refused.
type Decoder = fn(&Bytes) -> bool;

/// Decodes a message as the ports do, and as files are read.
fn decoded<M: Message + Default + Shaped>(bytes: &Bytes) -> Option<M> {
    check_size::<M>(bytes).ok()?;
    M::decode(bytes.clone()).ok()
}

/// Decodes a message that is looked at as it is.
fn plain<M: Message + Default + Shaped>(bytes: &Bytes) -> bool {
    decoded::<M>(bytes).is_some()
}

macro_rules! plain {
    ($($package:literal $module:ident: $($message:ident)*;)*) => {
        &[$($((concat!($package, ".", stringify!($message)), plain::<$module::$message> as Decoder),)*)*]
    };
}

/// The messages of all services, and those that are stored.
const DECODERS: &[(&str, Decoder)] = plain! {
    "shardedkv.v1" v1:
        StatusRequest StatusResponse TransferLeaderRequest TransferLeaderResponse RemoveReplicaRequest
        RemoveReplicaResponse ShardsRequest ShardsResponse RetireRequest RetireResponse SnapshotRequest
        SnapshotResponse ResetRequest ResetResponse RemoveFormerRequest RemoveFormerResponse ShardMap Entry
        SnapshotHeader SnapshotItem Error TakeStepRequest TakeStepResponse IsLeavingRequest IsLeavingResponse
        GetRequest GetResponse PutRequest PutResponse AppendRequest AppendResponse DeleteRequest
        DeleteResponse OpenSessionRequest OpenSessionResponse PipelineRequest PipelineResponse
        AppendEntriesRequest AppendEntriesResponse HeldSnapshotRequest HeldSnapshotResponse VoteRequest
        VoteResponse TellReversionRequest
        TellReversionResponse TransferLeadershipRequest TransferLeadershipResponse InstallSnapshotRequest
        InstallSnapshotResponse GetShardIndexRequest GetShardIndexResponse GetShardMapRequest
        WatchShardMapRequest RegisterReplicaRequest RegisterReplicaResponse QueryRequest Configuration
        JoinRequest LeaveRequest MoveRequest UnpinRequest RebalanceRequest ChangeResponse BootstrapRecord
        StoredMembership;
    "shardedkv.lab.v1" lab:
        JoinRequest JoinResponse LocateRequest LocateResponse GetRequest GetResponse PutRequest PutResponse
        AppendRequest AppendResponse GetShardIndexRequest GetShardIndexResponse;
};

/// The things that are made of some messages at once, beside decoding them.
const USES: &[(&str, Decoder)] = &[
    ("shardedkv.v1.ShardMap", shard_map),
    ("shardedkv.v1.Error", error),
    ("shardedkv.v1.TakeStepRequest", step),
    ("shardedkv.v1.Entry", |bytes| skv_store::readable(bytes).is_ok()),
    ("shardedkv.v1.BootstrapRecord", founding),
    ("shardedkv.v1.AppendEntriesRequest", entries),
    ("shardedkv.v1.InstallSnapshotRequest", snapshot),
    ("shardedkv.v1.StoredMembership", |bytes| {
        decoded(bytes).is_some_and(|message| StoredMembership::from_wire(message).is_ok())
    }),
];

fn shard_map(bytes: &Bytes) -> bool {
    let Some(message) = decoded::<v1::ShardMap>(bytes) else { return false };
    let Ok(map) = ShardMap::try_from(&message) else { return false };
    let located = map.locate(b"key").is_ok() && map.locate(b"12").is_ok();
    located && v1::ShardMap::from(&map).encoded_len() > 0
}

fn error(bytes: &Bytes) -> bool {
    let Some(message) = decoded::<v1::Error>(bytes) else { return false };
    let status = tonic::Status::from(Error::from(message));
    Error::from_status(&status).is_some()
}

fn step(bytes: &Bytes) -> bool {
    let message = decoded::<v1::TakeStepRequest>(bytes);
    message.and_then(|message| message.step).is_some_and(|step| HandoffStep::try_from(step).is_ok())
}

fn founding(bytes: &Bytes) -> bool {
    let Some(message) = decoded::<v1::BootstrapRecord>(bytes) else { return false };
    let _ = Limits::from(message.limits.unwrap_or_default());
    skv_store::encode_found(1, ClusterId(1), message, MapRevision(1)).is_ok()
}

fn entries(bytes: &Bytes) -> bool {
    let message = decoded::<v1::AppendEntriesRequest>(bytes).and_then(|request| request.message);
    let Some(Appended::Append(message)) = message else { return false };
    let Ok(request) = append::from_wire(message) else { return false };
    let _ = append::log_bytes(&request.entries);
    judge::append(&request, ReplicaId(1), ReplicaId(2)).is_ok()
}

fn snapshot(bytes: &Bytes) -> bool {
    let message = decoded::<v1::InstallSnapshotRequest>(bytes).and_then(|request| request.message);
    let Some(Installed::Start(start)) = message else { return false };
    let Some(Ok(vote)) = start.vote.map(Vote::from_wire) else { return false };
    let Ok(last) = start.last_log_id.map(LogId::from_wire).transpose() else { return false };
    judge::snapshot(last.as_ref(), &vote, None).is_ok()
}

/// Returns the decoder of a message.
#[cfg(test)]
pub(crate) fn decoder(name: &str) -> Option<Decoder> {
    DECODERS.iter().find(|(message, _)| *message == name).map(|(_, decoder)| *decoder)
}

/// Has a message read by all that reads it.
pub(crate) fn read(trial: &mut Trial, name: &str, bytes: Vec<u8>) -> Result<(), String> {
    let readers = DECODERS.iter().chain(USES).filter(|(message, _)| *message == name);
    let bytes = Bytes::from(bytes);
    for (_, decoder) in readers {
        read_by(trial, name, &bytes, *decoder)?;
    }
    Ok(())
}

fn read_by(trial: &mut Trial, name: &str, bytes: &Bytes, decoder: Decoder) -> Result<(), String> {
    if !trial.read(name, bytes, || decoder(bytes))? {
        trial.refuse();
    }
    Ok(())
}

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    let messages = Messages::new()?;
    for _ in 0..INPUTS {
        if draw.chance(SWOLLEN) {
            let Some((name, decoder)) = draw.pick(DECODERS) else { break };
            let bytes = Bytes::from(message::swollen(draw, &messages.of(name)?));
            found(read_by(trial, name, &bytes, *decoder))?;
            continue;
        }
        // Those of which more is made come more often.
        let readers = if draw.chance(50) { DECODERS } else { USES };
        let Some((name, _)) = draw.pick(readers) else { break };
        let bytes = messages.bytes(draw, &messages.of(name)?);
        found(read(trial, name, bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_every_service_has_its_decoder_here() {
        let messages = Messages::new().unwrap();
        let services = messages.pool().services();
        let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        assert!(methods.len() > 30);
        for method in methods {
            for message in [method.input(), method.output()] {
                assert!(decoder(message.full_name()).is_some(), "{}", message.full_name());
            }
        }
        assert!(USES.iter().all(|(name, _)| decoder(name).is_some()));
    }
}
