//! Finds the replica that serves an operation, or the error to return.

use std::sync::Arc;

use skv_proto::{Error, ShardOwner};
use skv_replica::map_copy::MapCopy;
use skv_replica::{Replicas, Running};
use skv_sharding::{Epoch, GroupId, ShardId};
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
    let several = replicas.iter().nth(1).is_some();
    let (mut best, mut reason): (Option<(Claim, Route)>, _) = (None, None);
    for replica in replicas.iter() {
        match replica.running() {
            Ok(running) => match claim(&running, key, several) {
                Ok((claim, shard)) => {
                    if best.as_ref().is_none_or(|(other, _)| *other < claim) {
                        // Only the leader knows when it has come; others say who leads.
                        let arriving = claim.leads && !claim.serves;
                        best = Some((claim, Route { running, shard, arriving }));
                    }
                }
                Err(rejection @ Rejection::WrongGroup { .. }) => {
                    reason = Some(with_owner(rejection, replica.group, map, key));
                }
                Err(rejection) => {
                    reason = reason.or(Some(with_owner(rejection, replica.group, map, key)));
                }
            },
            Err(unavailable) => reason = reason.or(Some(unavailable)),
        }
    }
    match best {
        Some((_, route)) => Ok(route),
        None => Err(reason.unwrap_or_else(|| Error::Unavailable("this server has no replica".into()))),
    }
}

/// The claim of a replica to a shard. Replicas of two groups on one server may both claim a shard, since
/// one that lags doesn't know yet that its group gave the shard away. The greatest claim wins: that of a
/// leader, and then that of the newest owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    leads: bool,
    serves: bool,
    epoch: Epoch,
}

fn claim(running: &Running, key: &[u8], several: bool) -> Result<(Claim, ShardId), Rejection> {
    let (shard, serving) = running.store.locate(key)?;
    let serves = match serving {
        Ok(()) => true,
        Err(Rejection::Arriving { .. }) => false,
        Err(rejection) => return Err(rejection),
    };
    // An only replica that serves the shard is asked whether it leads when it takes the operation.
    let epoch = if several { running.store.owns(shard).unwrap_or_default() } else { Epoch(0) };
    let leads = (several || !serves) && running.hints.is_leader();
    Ok((Claim { leads, serves, epoch }, shard))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_replicas_that_claim_a_shard_the_leader_counts_and_then_the_newer_owner() {
        let claim = |leads, serves, epoch| Claim { leads, serves, epoch: Epoch(epoch) };
        let rising = [
            claim(false, false, 0),
            // A follower that lags, and one that has heard that its group has the shard now.
            claim(false, true, 3),
            claim(false, true, 4),
            // The target's leader, which waits for the shard, and then has it.
            claim(true, false, 0),
            claim(true, true, 4),
        ];
        assert!(rising.is_sorted());
    }
}
