//! Making a record out of what the groups say: the first one, one in place of a lost
//! one, and one in place of a copy that is older than the groups.
//!
//! All three are the same: every group speaks through its leader, or is found to be new
//! because all its replicas are empty. Nothing is made before all groups have spoken
//! (invariant 7), so a group is founded at most once, and at best in place of one whose
//! last byte is gone.

use std::collections::{BTreeMap, BTreeSet};

use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Layout, MapRevision, Owner, Policy, Replica, ShardId, ShardSet, plan,
};

use super::heard::Heard;
use super::registration::{Held, Registration, Report};
use super::{Ids, Settings};
use crate::record::{GroupRecord, History, Record, Requests, RetiredGroups};

/// A group that has spoken.
enum Spoken<'a> {
    /// Through its leader.
    Exists(&'a Report),
    /// All its replicas are empty.
    New(Vec<Replica>),
}

/// What living replicas know and the record doesn't: proof that the record was put back
/// from an older copy.
pub(super) fn evidence_against(record: &Record, heard: &Heard) -> Option<String> {
    heard.all().filter(|r| r.held.cluster() == Some(record.cluster)).find_map(|registration| {
        let Registration { group, replica: Replica { server, .. }, held } = registration;
        let Some(known) = record.groups.get(group) else {
            return Some(format!("{server} belongs to {group}, which the record doesn't know"));
        };
        let report = held.report().filter(|report| report.uid == known.uid)?;
        if report.obeyed > record.revision {
            let (obeyed, ours) = (report.obeyed, record.revision);
            return Some(format!("{group} has obeyed version {obeyed}, the record is of version {ours}"));
        }
        let (epoch, given) = (report.highest_epoch(), record.epoch);
        (epoch > given).then(|| format!("{server} knows epoch {epoch}, the record gave {given} at most"))
    })
}

/// Makes a record, or says what is missing for it. `old` is the record that was found to
/// be out of date.
pub(super) fn rebuild(
    settings: &Settings,
    old: Option<&Record>,
    heard: &Heard,
    ids: &mut Ids<'_>,
) -> Result<Record, String> {
    let cluster = cluster(old, heard)?;
    let ours: Vec<&Registration> =
        heard.all().filter(|r| cluster.is_some() && r.held.cluster() == cluster).collect();
    let spoken = all_groups(settings, old, heard, &ours)?;
    let known = owners_by_reports(settings.shards, &spoken)?;

    let unowned: Vec<ShardId> =
        (0..).map(ShardId).zip(&known).filter(|(_, o)| o.is_none()).map(|(s, _)| s).collect();
    let new: Vec<GroupId> =
        spoken.iter().filter(|(_, s)| matches!(s, Spoken::New(_))).map(|(&group, _)| group).collect();
    if new.is_empty() && !unowned.is_empty() {
        // Only the groups may say who has a shard: giving it away here could lose it or serve it twice.
        let unowned: ShardSet = unowned.into_iter().collect();
        return Err(format!("no group owns the shards {unowned}; is a group missing from --groups?"));
    }
    // No claim of the past has an epoch as high, should one turn up.
    let reported = ours.iter().filter_map(|r| r.held.report()).map(Report::highest_epoch);
    let epoch = reported.chain(old.map(|record| record.epoch)).max().unwrap_or_default();
    let epoch = Epoch(epoch.0 + 1);
    // The new groups share what nobody has, and nothing else: what the others have stays there.
    let nowhere = vec![None; unowned.len()];
    let layout = Layout { groups: &new, owners: &nowhere, pins: &BTreeMap::new() };
    let shares = plan(Policy::Minimal, layout).map_err(|error| error.to_string())?;
    let given: BTreeMap<ShardId, GroupId> = unowned.iter().copied().zip(shares).collect();
    let owners: Vec<Owner> = (0..)
        .map(ShardId)
        .zip(known)
        .filter_map(|(shard, owner)| owner.or_else(|| given.get(&shard).map(|&group| Owner { group, epoch })))
        .collect();

    let mut history = old.map_or_else(History::default, |record| record.history.clone());
    let mut groups = history.newest().groups;
    // A group without a shard has left, or hasn't joined yet.
    let shares = |group: &GroupId| owners.iter().any(|owner| owner.group == *group);
    let known: Vec<GroupId> = groups.clone();
    groups.extend(spoken.keys().filter(|group| !known.contains(group) && shares(group)));
    history.push(groups, &owners.iter().map(|o| o.group).collect::<Vec<_>>());

    let before = old.map_or(MapRevision(0), |record| record.revision);
    let obeyed = ours.iter().filter_map(|r| r.held.report()).map(|report| report.obeyed);
    let seen = obeyed.fold(before, MapRevision::max);
    let groups = spoken
        .into_iter()
        .map(|(group, spoken)| {
            let record = match spoken {
                Spoken::Exists(report) => {
                    existing(old.and_then(|r| r.groups.get(&group)), heard, group, report)
                }
                Spoken::New(members) => {
                    let given = given.iter().filter(|(_, owner)| **owner == group);
                    let shards = given.map(|(&shard, _)| shard).collect();
                    GroupRecord::founded(GroupUid(ids()), members, shards, epoch)
                }
            };
            (group, record)
        })
        .collect();
    let record = Record {
        cluster: cluster.unwrap_or_else(|| ClusterId(ids())),
        revision: MapRevision(seen.0 + 1),
        hash: settings.hash,
        limits: old.map_or(settings.limits, |record| record.limits),
        groups,
        owners,
        history,
        policy: old.map_or(settings.policy, |record| record.policy),
        pins: old.map_or_else(BTreeMap::new, |record| record.pins.clone()),
        // What is under way at the groups and isn't frozen is cancelled: the next change plans anew.
        moves: BTreeMap::new(),
        epoch,
        requests: old.map_or_else(Requests::default, |record| record.requests.clone()),
        retired: old.map_or_else(RetiredGroups::default, |record| record.retired.clone()),
    };
    evidence_against(&record, heard).map_or(Ok(record), Err)
}

/// The one cluster that all belong to; `None` if all are empty.
fn cluster(old: Option<&Record>, heard: &Heard) -> Result<Option<ClusterId>, String> {
    if let Some(old) = old {
        return Ok(Some(old.cluster));
    }
    let mut belonging = heard.all().filter_map(|r| Some((r.held.cluster()?, &r.replica.server)));
    let Some((first, server)) = belonging.next() else { return Ok(None) };
    match belonging.find(|(cluster, _)| *cluster != first) {
        None => Ok(Some(first)),
        Some((other, stray)) => Err(format!(
            "replicas of two clusters register here: {server} of {first}, {stray} of {other}; stop those that don't \
             belong"
        )),
    }
}

/// What each group says; or who is silent yet.
fn all_groups<'a>(
    settings: &Settings,
    old: Option<&Record>,
    heard: &'a Heard,
    ours: &[&'a Registration],
) -> Result<BTreeMap<GroupId, Spoken<'a>>, String> {
    let mut expected: BTreeSet<GroupId> = ours.iter().map(|r| r.group).collect();
    match old {
        Some(record) => expected.extend(record.groups.keys()),
        None => expected.extend((0..settings.groups).map(GroupId)),
    }
    let mut spoken = BTreeMap::new();
    let mut missing = Vec::new();
    for group in expected {
        let reports = ours.iter().filter(|r| r.group == group).filter_map(|r| r.held.report());
        let leader = reports.filter(|report| report.confirmed).max_by_key(|report| report.term);
        if let Some(report) = leader {
            spoken.insert(group, Spoken::Exists(report));
        } else if old.is_some() || heard.exists(group) {
            missing.push(unreported(group));
        } else {
            match first_members(settings, heard, group) {
                Ok(members) => drop(spoken.insert(group, Spoken::New(members))),
                Err(problem) => missing.push(problem),
            }
        }
    }
    if missing.is_empty() { Ok(spoken) } else { Err(missing.join(", ")) }
}

/// Why nothing is done about a group that exists.
pub(super) fn unreported(group: GroupId) -> String {
    format!("{group} exists, but no leader of it reports what it has")
}

/// The owner of each shard that some group claims: of two claims the one of the higher epoch.
fn owners_by_reports(
    shards: u32,
    spoken: &BTreeMap<GroupId, Spoken<'_>>,
) -> Result<Vec<Option<Owner>>, String> {
    let mut owners: Vec<Option<Owner>> = vec![None; shards as usize];
    for (&group, spoken) in spoken {
        let Spoken::Exists(report) = spoken else { continue };
        for &(shard, epoch) in &report.owned {
            match &mut owners[shard.0 as usize] {
                Some(other) if other.epoch == epoch => {
                    return Err(format!(
                        "both {} and {group} say that they own shard {shard} since epoch {epoch}",
                        other.group
                    ));
                }
                Some(other) if other.epoch > epoch => {}
                owner => *owner = Some(Owner { group, epoch }),
            }
        }
    }
    Ok(owners)
}

fn existing(old: Option<&GroupRecord>, heard: &Heard, group: GroupId, report: &Report) -> GroupRecord {
    let old = old.filter(|old| old.uid == report.uid);
    GroupRecord {
        uid: report.uid,
        incarnation: report.incarnation,
        members: with_addresses(&report.members, old, heard, group),
        candidates: Vec::new(),
        bootstrap: old.and_then(|old| old.bootstrap.clone()),
        joined: old.is_some_and(|old| old.joined),
        drained: old.is_some_and(|old| old.drained),
    }
}

/// The first members of a group that nobody has ever heard of; or what is missing of it.
pub(super) fn first_members(
    settings: &Settings,
    heard: &Heard,
    group: GroupId,
) -> Result<Vec<Replica>, String> {
    let empty = heard.group(group).filter(|other| other.held == Held::Nothing).map(|other| &other.replica);
    let replicas = settings.replicas as usize;
    let members: Vec<Replica> = empty.take(replicas).cloned().collect();
    if members.len() < replicas {
        return Err(format!("{group} has {} of {replicas} replicas", members.len()));
    }
    Ok(members)
}

/// Members as they registered lately; else as they were recorded; else as they were reported.
pub(super) fn with_addresses(
    members: &[Replica],
    recorded: Option<&GroupRecord>,
    heard: &Heard,
    group: GroupId,
) -> Vec<Replica> {
    let find = |member: &Replica| {
        let registered = heard.group(group).map(|r| &r.replica);
        let recorded = recorded.into_iter().flat_map(|g| g.members.iter().chain(&g.candidates));
        registered.chain(recorded).find(|known| known.id == member.id).unwrap_or(member).clone()
    };
    members.iter().map(find).collect()
}
