//! Finds the replica that serves an operation, or the error to return.

use std::sync::Arc;

use skv_proto::{Error, ShardOwner};
use skv_replica::map_copy::MapCopy;
use skv_replica::{Replicas, Running};
use skv_sharding::{GroupId, ShardId};
use skv_store::Rejection;

/// The replica that takes an operation.
pub(super) struct Route {
    pub(super) running: Arc<Running>,
    pub(super) shard: ShardId,
    /// True if the shard is on its way to the replica.
    pub(super) arriving: bool,
}

/// Finds the replica on this server that owns the key's shard. Only a first look: ownership is
/// checked again when the operation takes effect.
pub(super) fn route(replicas: &Replicas, map: &MapCopy, key: &[u8]) -> Result<Route, Error> {
    if key.is_empty() {
        return Err(Error::InvalidArgument("the key is empty".into()));
    }
    let mut reason = None;
    for replica in replicas.iter() {
        match replica.running() {
            Ok(running) => {
                let shard = running.store.shard_of(key);
                match shard.and_then(|shard| running.store.serves(shard).map(|()| shard)) {
                    Ok(shard) => return Ok(Route { running, shard, arriving: false }),
                    // Only the leader knows when it has come; others say who leads.
                    Err(Rejection::Arriving { .. }) if let Ok(shard) = shard => {
                        let arriving = running.hints.is_leader();
                        return Ok(Route { running, shard, arriving });
                    }
                    Err(rejection @ Rejection::WrongGroup { .. }) => {
                        reason = Some(with_owner(rejection, replica.group, map, key));
                    }
                    Err(rejection) => {
                        reason = reason.or(Some(with_owner(rejection, replica.group, map, key)));
                    }
                }
            }
            Err(unavailable) => reason = reason.or(Some(unavailable)),
        }
    }
    Err(reason.unwrap_or_else(|| Error::Unavailable("this server has no replica".into())))
}

/// Returns what the sender is told whose operation a replica has rejected.
pub(super) fn rejected(rejection: Rejection, running: &Running, map: &MapCopy, key: &[u8]) -> Error {
    with_owner(rejection, running.place.group, map, key)
}

/// Returns a rejection as it is sent, with the owner's addresses. Of two owners the one of the higher
/// epoch counts: the group knows where it sent the shard, the map what became of it then.
fn with_owner(rejection: Rejection, group: GroupId, map: &MapCopy, key: &[u8]) -> Error {
    let newest = |known: Option<ShardOwner>| {
        let mapped = map.owner_of(key).filter(|mapped| known.as_ref().is_none_or(|o| o.epoch < mapped.epoch));
        let mut owner = mapped.or(known)?;
        owner.replicas = map.members(owner.group);
        Some(owner)
    };
    match rejection.into_error(group) {
        Error::WrongGroup { group, owner } => Error::WrongGroup { group, owner: newest(owner) },
        Error::ShardMoving { group, target } => Error::ShardMoving { group, target: newest(target) },
        other => other,
    }
}
