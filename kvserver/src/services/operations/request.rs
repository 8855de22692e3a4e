//! An operation as it was asked for: what it names, whether it may be carried out, and the command or
//! read that it comes down to. Pure.

use bytes::Bytes;
use skv_proto::v1::command::Kind;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_sharding::{ClusterId, ShardId};
use skv_store::Facts;

/// The work that an operation comes down to.
pub(super) enum Task {
    Write(v1::Command),
    /// To read this key.
    Read(Bytes),
}

pub(in crate::services) fn key_of(operation: &Operation) -> &Bytes {
    match operation {
        Operation::Get(v1::GetRequest { key, .. })
        | Operation::Put(v1::PutRequest { key, .. })
        | Operation::Append(v1::AppendRequest { key, .. })
        | Operation::Delete(v1::DeleteRequest { key, .. }) => key,
    }
}

fn value_of(operation: &Operation) -> &[u8] {
    match operation {
        Operation::Get(_) | Operation::Delete(_) => &[],
        Operation::Put(put) => &put.value,
        Operation::Append(append) => &append.args,
    }
}

/// Returns the bytes of an operation's key and value.
pub(in crate::services) fn size_of(operation: &Operation) -> usize {
    key_of(operation).len() + value_of(operation).len()
}

/// Refuses an operation that is meant for another cluster, or beyond the group's limits.
pub(super) fn check(facts: &Facts, operation: &Operation) -> Result<(), Error> {
    let (key, value) = (key_of(operation).len() as u64, value_of(operation).len() as u64);
    let cluster = match operation {
        Operation::Get(get) => get.cluster_id,
        Operation::Put(put) => put.cluster_id,
        Operation::Append(append) => append.cluster_id,
        Operation::Delete(delete) => delete.cluster_id,
    };
    if cluster != 0 && cluster != facts.cluster.0 {
        let (meant, ours) = (ClusterId(cluster), facts.cluster);
        return Err(Error::WrongIdentity(format!("the request is for cluster {meant}, this is {ours}")));
    }
    if key > facts.limits.max_key_bytes {
        let limit = facts.limits.max_key_bytes;
        return Err(Error::InvalidArgument(format!("the key has {key} bytes, the limit is {limit}")));
    }
    if value > facts.limits.max_value_bytes {
        let limit = facts.limits.max_value_bytes;
        return Err(Error::InvalidArgument(format!("the value has {value} bytes, the limit is {limit}")));
    }
    Ok(())
}

/// Returns what an operation on a key of this shard comes down to.
pub(super) fn task(shard: ShardId, operation: Operation) -> Task {
    let (kind, key, value, if_revision, id) = match operation {
        Operation::Get(get) => return Task::Read(get.key),
        Operation::Put(put) => (Kind::Put, put.key, put.value, put.if_revision, put.id),
        Operation::Append(append) => (Kind::Append, append.key, append.args, None, append.id),
        Operation::Delete(delete) => (Kind::Delete, delete.key, Bytes::new(), delete.if_revision, delete.id),
    };
    Task::Write(v1::Command { kind: kind as i32, shard: shard.0, key, value, if_revision, id })
}
