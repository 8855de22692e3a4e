//! Refuses registrations that belong elsewhere, that take a name which another replica has, or for which there is
//! no room. Pure.

use skv_sharding::GroupId;

use super::heard::Heard;
use super::registration::{Held, Refusal, Registration};
use super::settings::Settings;
use crate::record::{GroupRecord, Record};

/// The limit of groups: all have lower numbers.
const MOST_GROUPS: u32 = 4096;

/// Refuses a registration of another cluster, group or kind of sharding.
pub(super) fn check_origin(
    settings: &Settings,
    record: Option<&Record>,
    registration: &Registration,
) -> Result<(), Refusal> {
    let Registration { group, replica, held, .. } = registration;
    let known = recorded(record, *group);
    // The first configuration has the configured groups; later ones may join.
    let is_first = record.is_none() && *held == Held::Nothing;
    if is_first && group.0 >= settings.groups || group.0 >= MOST_GROUPS {
        return Err(Refusal::UnknownGroup { group: *group, groups: settings.groups });
    }
    let server = || replica.server.clone();
    if let (Some(theirs), Some(ours)) = (held.cluster(), record.map(|record| record.cluster))
        && theirs != ours
    {
        return Err(Refusal::ForeignCluster { server: server(), theirs, ours });
    }
    let Some(report) = held.report() else { return Ok(()) };
    if let Some(known) = known.filter(|known| known.uid != report.uid) {
        return Err(Refusal::ForeignGroup {
            server: server(),
            group: *group,
            theirs: report.uid,
            ours: known.uid,
        });
    }
    if (report.shards, report.hash) != (settings.shards, settings.hash) {
        return Err(Refusal::OtherSharding {
            group: *group,
            their_shards: report.shards,
            their_hash: report.hash,
            our_shards: settings.shards,
            our_hash: settings.hash,
        });
    }
    if let Some((shard, _)) = report.owned.iter().find(|(shard, _)| shard.0 >= settings.shards) {
        return Err(Refusal::Malformed(format!("{group} can't own shard {shard} of {}", settings.shards)));
    }
    Ok(())
}

/// Refuses a second living replica of a server name, and more names than the group has replicas.
pub(super) fn check_name(
    settings: &Settings,
    record: Option<&Record>,
    heard: &Heard,
    registration: &Registration,
) -> Result<(), Refusal> {
    let Registration { group, replica, .. } = registration;
    let known = recorded(record, *group);
    if let Some(holder) = heard.holder(*group, &replica.server)
        && holder.replica.id != replica.id
        // A replica at the holder's own address proves that the holder is gone: only one can listen there.
        && holder.replica.peer_address != replica.peer_address
        && right_to_name(known, registration) <= right_to_name(known, holder)
    {
        return Err(Refusal::NameHeld {
            group: *group,
            server: replica.server.clone(),
            holder: holder.replica.id,
            address: holder.replica.peer_address.clone(),
        });
    }
    let mut servers: Vec<&str> = match known {
        Some(known) => known.servers().collect(),
        None => heard.servers(*group).collect(),
    };
    servers.sort_unstable();
    servers.dedup();
    if !servers.contains(&replica.server.as_str()) && servers.len() >= settings.replicas as usize {
        return Err(Refusal::TooManyServers {
            group: *group,
            server: replica.server.clone(),
            known: servers.into_iter().map(str::to_owned).collect(),
        });
    }
    Ok(())
}

/// Refuses a registration beyond the memory that all of them may take.
pub(super) fn check_room(
    record: Option<&Record>,
    heard: &Heard,
    registration: &Registration,
) -> Result<(), Refusal> {
    let Registration { group, replica, .. } = registration;
    let known = recorded(record, *group);
    let is_member = known.is_some_and(|known| known.member(replica.id).is_some());
    let most = if is_member { heard.room.with_member } else { heard.room.most };
    if heard.bytes_with(registration) > most {
        return Err(Refusal::NoRoom { group: *group, server: replica.server.clone() });
    }
    Ok(())
}

/// Returns a group as the record has it.
fn recorded(record: Option<&Record>, group: GroupId) -> Option<&GroupRecord> {
    record?.groups.get(&group)
}

/// Returns the rank of a claim to a server's name. A member that isn't empty can't be kept out by a
/// replica that came first under its server's name; among equals the first stays.
fn right_to_name(group: Option<&GroupRecord>, registration: &Registration) -> u8 {
    let is_member = group.is_none_or(|group| group.member(registration.replica.id).is_some());
    u8::from(is_member && registration.held != Held::Nothing)
}
