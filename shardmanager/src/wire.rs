//! The conversion between the wire types and those of the rules: incoming messages are parsed here, once.

use skv_assignment::record::{Bootstrap, Limits, PlannedMove};
use skv_assignment::rules::{
    ChangeRefusal, Changed, Full, Held, Pending, Plan, Refusal, Registration, Report, Settings,
};
use skv_proto::{Error, v1};
use skv_sharding::{
    COUNT_LIMIT, ClusterId, Epoch, GroupId, GroupUid, Incarnation, Lineage, MapRevision, Replica, ReplicaId,
    ShardId,
};

/// The length limit of names and addresses (a DNS name has at most 253 bytes).
const LONGEST_NAME: usize = 300;
/// The limit of a group's members, learners included.
const MOST_MEMBERS: usize = 64;
/// The limit of incarnations: no group is revived this often.
const LAST_INCARNATION: u32 = 1 << 30;

/// Reads a registration.
pub(crate) fn registration(request: v1::RegisterReplicaRequest) -> Result<Registration, Refusal> {
    let replica: Replica = request.replica.ok_or_else(|| malformed("it names no replica"))?.into();
    if replica.id == ReplicaId(0) {
        return Err(malformed("the replica has no id"));
    }
    if replica.server.is_empty() {
        return Err(malformed("the replica's server has no name"));
    }
    check_lengths(&replica)?;
    for address in [&replica.client_address, &replica.peer_address] {
        if port(address).is_none() {
            return Err(malformed(&format!("{address:?} is not an address of the form HOST:PORT")));
        }
    }
    let held = match request.report {
        None if request.cluster_id == 0 => Held::Nothing,
        None => Held::Place { cluster: ClusterId(request.cluster_id) },
        Some(_) if request.cluster_id == 0 => return Err(malformed("a replica with data names no cluster")),
        Some(report) => Held::Data { cluster: ClusterId(request.cluster_id), report: self::report(report)? },
    };
    let map_revision = MapRevision(count(request.map_revision, "map revision")?);
    Ok(Registration { group: GroupId(request.group), replica, held, map_revision })
}

fn report(wire: v1::GroupReport) -> Result<Report, Refusal> {
    if wire.group_uid == 0 {
        return Err(malformed("a replica with data names no group uid"));
    }
    if wire.confirmed && wire.members.is_empty() {
        return Err(malformed("a leader reports no members"));
    }
    if wire.members.iter().any(|member| member.id == 0) {
        return Err(malformed("a member has no id"));
    }
    if wire.members.len() > MOST_MEMBERS {
        return Err(malformed(&format!("{} members are more than a group can have", wire.members.len())));
    }
    let hash = wire.hash().try_into().map_err(|e: skv_proto::ConvertError| malformed(&e.to_string()))?;
    let members: Vec<Replica> = wire.members.into_iter().map(Into::into).collect();
    members.iter().try_for_each(check_lengths)?;
    if wire.shards_owned.len().max(wire.passed.len()) > wire.shards as usize {
        return Err(malformed("a group owns more shards than there are"));
    }
    let owned = |s: v1::ShardEpoch| Ok((ShardId(s.shard), Epoch(count(s.epoch, "epoch")?)));
    if wire.incarnation > LAST_INCARNATION {
        return Err(malformed(&format!("no group has had {} lives", wire.incarnation)));
    }
    Ok(Report {
        uid: GroupUid(wire.group_uid),
        incarnation: Incarnation(wire.incarnation),
        lineage: Lineage::new(wire.lineage.into_iter().map(Incarnation)),
        members,
        owned: wire.shards_owned.into_iter().map(owned).collect::<Result<_, _>>()?,
        epoch: Epoch(count(wire.highest_epoch, "epoch")?),
        retired: wire.retired,
        obeyed_revision: MapRevision(count(wire.obeyed_version, "map revision")?),
        shards: wire.shards,
        hash,
        confirmed: wire.confirmed,
        term: count(wire.term, "term")?,
        leader: Some(ReplicaId(wire.leader)).filter(|id| id.0 != 0),
        passed: wire.passed.into_iter().map(owned).collect::<Result<_, _>>()?,
        committed: count(wire.committed, "committed index")?,
        full: Full { disk: wire.disk_full, memory: wire.memory_full },
    })
}

fn check_lengths(replica: &Replica) -> Result<(), Refusal> {
    let texts = [&replica.server, &replica.client_address, &replica.peer_address, &replica.instance];
    match texts.iter().find(|text| text.len() > LONGEST_NAME) {
        Some(text) => Err(malformed(&format!("a name or address has {} bytes", text.len()))),
        None => Ok(()),
    }
}

/// Checks a number that the record counts on from: a forged one near the end of its range would leave no
/// next one.
fn count(number: u64, what: &str) -> Result<u64, Refusal> {
    let is_one = number < COUNT_LIMIT;
    is_one.then_some(number).ok_or_else(|| malformed(&format!("there is no {what} {number}")))
}

fn malformed(reason: &str) -> Refusal {
    Refusal::Malformed(reason.to_owned())
}

/// Returns the port of HOST:PORT.
pub(crate) fn port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse().ok().filter(|&port| port != 0 && !host.is_empty())
}

/// Writes a plan.
pub(crate) fn plan(plan: Plan, group: GroupId, settings: &Settings) -> v1::register_replica_response::Plan {
    use v1::register_replica_response::{Plan as Wire, Serve, Wait};
    match plan {
        Plan::Wait { reason } => Wire::Wait(Wait { reason }),
        Plan::Bootstrap { uid, bootstrap: Bootstrap { members, shards, epoch }, limits } => {
            Wire::Bootstrap(v1::BootstrapRecord {
                group: group.0,
                group_uid: uid.0,
                members: members.into_iter().map(Into::into).collect(),
                shards_owned: shards.iter().map(|s| v1::ShardEpoch { shard: s.0, epoch: epoch.0 }).collect(),
                shards: settings.shards,
                hash: v1::Hash::from(settings.hash) as i32,
                limits: Some(self::limits(limits)),
            })
        }
        Plan::Retired => Wire::Retired(v1::register_replica_response::Retired {}),
        Plan::Join { uid, incarnation } => {
            Wire::Join(v1::JoinGroup { group_uid: uid.0, incarnation: incarnation.0 })
        }
        Plan::Serve { candidates, moves } => {
            let to_wire = |(shard, planned, uid): (ShardId, PlannedMove, GroupUid)| v1::Move {
                shard: shard.0,
                epoch: planned.epoch.0,
                target: planned.to.0,
                target_uid: uid.0,
            };
            Wire::Serve(Serve {
                candidates: candidates.into_iter().map(Into::into).collect(),
                moves: moves.into_iter().map(to_wire).collect(),
            })
        }
    }
}

/// Writes a pin.
pub(crate) fn pinned((shard, group): (ShardId, GroupId)) -> v1::PinnedShard {
    v1::PinnedShard { shard: shard.0, group: group.0 }
}

/// Writes the outcome of a change.
pub(crate) fn changed(changed: Changed) -> v1::ChangeResponse {
    let to_wire = |Pending { shard, source, target }: Pending| v1::PlannedMove {
        shard: shard.0,
        source: source.0,
        target: target.0,
    };
    v1::ChangeResponse {
        configuration: changed.configuration,
        moves: changed.moves.into_iter().map(to_wire).collect(),
        dropped_pins: changed.dropped_pins.into_iter().map(pinned).collect(),
    }
}

/// Writes limits.
fn limits(limits: Limits) -> v1::Limits {
    v1::Limits {
        max_key_bytes: limits.max_key_bytes,
        max_value_bytes: limits.max_value_bytes,
        max_sessions_per_shard: limits.max_sessions_per_shard,
        session_ttl_ms: limits.session_ttl_ms,
        ..v1::Limits::default()
    }
}

/// Writes the reason for which a change isn't made.
pub(crate) fn change_refused(refusal: &ChangeRefusal) -> Error {
    let text = refusal.to_string();
    if matches!(refusal, ChangeRefusal::Outdated(_) | ChangeRefusal::Unheard(_)) {
        Error::Unavailable(text)
    } else {
        Error::InvalidArgument(text)
    }
}

/// Writes the reason for which a replica is sent away.
pub(crate) fn registration_refused(refusal: &Refusal) -> Error {
    let text = refusal.to_string();
    match refusal {
        Refusal::Malformed(_) | Refusal::UnknownGroup { .. } | Refusal::OtherSharding { .. } => {
            Error::InvalidArgument(text)
        }
        Refusal::NoRoom { .. } => Error::Overloaded(text),
        Refusal::ForeignCluster { .. }
        | Refusal::ForeignGroup { .. }
        | Refusal::NameHeld { .. }
        | Refusal::TooManyServers { .. } => Error::WrongIdentity(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::RegisterReplicaRequest {
        let replica = v1::Replica {
            id: 1,
            server: "kv-g0-0".to_owned(),
            client_address: "127.0.0.1:1".to_owned(),
            peer_address: "127.0.0.1:2".to_owned(),
            instance: String::new(),
        };
        let report = v1::GroupReport {
            group_uid: 7,
            members: vec![replica.clone()],
            shards_owned: vec![v1::ShardEpoch { shard: 0, epoch: 1 }],
            shards: 1,
            hash: v1::Hash::Fnv1 as i32,
            ..v1::GroupReport::default()
        };
        v1::RegisterReplicaRequest {
            replica: Some(replica),
            cluster_id: 9,
            report: Some(report),
            ..v1::RegisterReplicaRequest::default()
        }
    }

    #[test]
    fn what_the_record_counts_on_from_is_never_at_its_end() {
        assert!(registration(request()).is_ok());
        let hostile: [fn(&mut v1::RegisterReplicaRequest, &mut v1::GroupReport); 9] = [
            |request, _| request.map_revision = u64::MAX,
            |_, report| report.obeyed_version = COUNT_LIMIT,
            |_, report| report.highest_epoch = u64::MAX,
            |_, report| report.shards_owned[0].epoch = u64::MAX,
            |_, report| report.term = u64::MAX,
            |_, report| report.incarnation = u32::MAX,
            |_, report| report.shards_owned.push(v1::ShardEpoch { shard: 0, epoch: 2 }),
            |_, report| report.members[0].id = 0,
            |_, report| report.hash = 99,
        ];
        for (number, change) in hostile.iter().enumerate() {
            let mut request = request();
            let mut report = request.report.take().unwrap();
            change(&mut request, &mut report);
            request.report = Some(report);
            let refused = registration(request);
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{number}: {refused:?}");
        }
    }
}
