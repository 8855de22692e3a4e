//! Making a record from the reports of the groups: the first one, one in place of a lost one, and
//! one in place of a copy that is older than the groups.
//!
//! All three are the same: every group reports through its leader, or is found to be new because
//! all its replicas are empty. Nothing is made before all groups have reported (invariant 7), so a
//! group is founded at most once, and at best in place of one whose last byte is gone. Only a group
//! without any registered replica may be missing, when the others report that they have all shards:
//! it was removed, or never existed, or has nothing and is discovered as soon as it reports.
//!
//! Groups that come later are founded in `draft`, under the same condition: no replica of them is known to
//! have data.

use std::collections::{BTreeMap, BTreeSet};

use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Layout, MapRevision, Owner, Policy, Replica, ShardId, ShardSet, plan,
};

use super::configuration::with_groups;
use super::heard::Heard;
use super::registration::{Held, Registration, Report};
use super::settings::{Ids, Settings};
use crate::record::{GroupRecord, History, Record, Requests, RetiredGroups};

/// The first record has this map revision, and its shards this epoch.
pub(super) const FIRST: (MapRevision, Epoch) = (MapRevision(1), Epoch(1));

/// The statements of all groups.
struct Statements<'a> {
    spoken: BTreeMap<GroupId, Spoken<'a>>,
    /// The missing statements of groups without any registered replica.
    absent: Vec<String>,
}

/// The statement of a group.
enum Spoken<'a> {
    /// The report of its leader.
    Exists(&'a Report),
    /// All its replicas are empty.
    New(Vec<Replica>),
}

/// Returns a fact that living replicas know and the record doesn't: proof that the record was
/// restored from an older copy.
pub(super) fn evidence_against(record: &Record, heard: &Heard) -> Option<String> {
    heard.all().filter(|r| r.held.cluster() == Some(record.cluster)).find_map(|registration| {
        let Registration { group, replica: Replica { server, .. }, held, map_revision } = registration;
        let Some(known) = record.groups.get(group) else {
            return Some(format!("{server} belongs to {group}, which the record doesn't know"));
        };
        if *map_revision > record.revision {
            let ours = record.revision;
            return Some(format!(
                "{server} has map revision {map_revision}, the record is of map revision {ours}"
            ));
        }
        let report = held.report().filter(|report| report.uid == known.uid)?;
        if report.obeyed_revision > record.revision {
            let (obeyed, ours) = (report.obeyed_revision, record.revision);
            return Some(format!(
                "{group} has obeyed map revision {obeyed}, the record is of map revision {ours}"
            ));
        }
        let (epoch, given) = (report.highest_epoch(), record.epoch);
        (epoch > given).then(|| format!("{server} knows epoch {epoch}, the record gave {given} at most"))
    })
}

/// Makes a record, or returns the reason why it can't. `old` is the record that was found to be out
/// of date.
pub(super) fn rebuild(
    settings: &Settings,
    old: Option<&Record>,
    heard: &Heard,
    ids: &mut Ids<'_>,
) -> Result<Record, String> {
    let cluster = cluster(old, heard)?;
    let ours: Vec<&Registration> =
        heard.all().filter(|r| cluster.is_some() && r.held.cluster() == cluster).collect();
    let Statements { spoken, absent } = statements(settings, old, heard, &ours)?;
    let known = owners_by_reports(settings.shards, &spoken)?;
    if !absent.is_empty() && !is_all_claimed(old, &known) {
        return Err(absent.join(", "));
    }

    let given = given_to_new_groups(&spoken, &known, &ours)?;
    // No claim of the past has an epoch as high, should one appear.
    let reported = ours.iter().filter_map(|r| r.held.report()).map(Report::highest_epoch);
    let epoch = reported.chain(old.map(|record| record.epoch)).max().unwrap_or_default();
    let epoch = Epoch(epoch.0 + 1);
    let owners: Vec<Owner> = (0..)
        .map(ShardId)
        .zip(known)
        .filter_map(|(shard, owner)| owner.or_else(|| given.get(&shard).map(|&group| Owner { group, epoch })))
        .collect();

    let history = history(old, &spoken, &owners);
    let sharing = history.newest().groups;
    let mut pins = old.map_or_else(BTreeMap::new, |record| record.pins.clone());
    pins.retain(|_, group| sharing.contains(group));

    let before = old.map_or(MapRevision(0), |record| record.revision);
    let seen = ours.iter().map(|registration| registration.known_revision()).fold(before, MapRevision::max);
    let group_record = |(group, spoken)| {
        let record = match spoken {
            Spoken::Exists(report) => existing(old.and_then(|r| r.groups.get(&group)), heard, group, report),
            Spoken::New(members) => {
                let given = given.iter().filter(|(_, owner)| **owner == group);
                let shards = given.map(|(&shard, _)| shard).collect();
                GroupRecord::founded(GroupUid(ids()), members, shards, epoch)
            }
        };
        (group, record)
    };
    let groups = spoken.into_iter().map(group_record).collect();
    let record = Record {
        cluster: cluster.unwrap_or_else(|| ClusterId(ids())),
        revision: MapRevision(seen.0 + 1),
        hash: settings.hash,
        limits: old.map_or(settings.limits, |record| record.limits),
        groups,
        owners,
        history,
        policy: old.map_or(settings.policy, |record| record.policy),
        pins: pins.clone(),
        moves: BTreeMap::new(),
        epoch,
        requests: old.map_or_else(Requests::default, |record| record.requests.clone()),
        retired: old.map_or_else(RetiredGroups::default, |record| record.retired.clone()),
    };
    if let Some(evidence) = evidence_against(&record, heard) {
        return Err(evidence);
    }
    // Moves under way are planned again: the groups cancel or redirect those that aren't frozen. If there is
    // no plan, since policy modulo doesn't divide by this number of groups, everything stays where it is.
    Ok(with_groups(&record, sharing, pins).unwrap_or(record))
}

/// Returns the configurations so far, and one of the groups that these owners show.
fn history(old: Option<&Record>, spoken: &BTreeMap<GroupId, Spoken<'_>>, owners: &[Owner]) -> History {
    let mut history = old.map_or_else(History::default, |record| record.history.clone());
    let mut sharing = history.newest().groups;
    sharing.retain(|group| spoken.get(group).is_some_and(Spoken::takes_shards));
    // A group without a shard has left, or hasn't joined yet. Under every policy the one that
    // joined first has the first shard.
    for Owner { group, .. } in owners {
        if !sharing.contains(group) {
            sharing.push(*group);
        }
    }
    history.push(sharing, &owners.iter().map(|o| o.group).collect::<Vec<_>>());
    history
}

/// Shares the shards without an owner among the new groups, and nothing else: shards of the others stay
/// there.
fn given_to_new_groups(
    spoken: &BTreeMap<GroupId, Spoken<'_>>,
    known: &[Option<Owner>],
    ours: &[&Registration],
) -> Result<BTreeMap<ShardId, GroupId>, String> {
    let unowned: Vec<ShardId> =
        (0..).map(ShardId).zip(known).filter(|(_, o)| o.is_none()).map(|(s, _)| s).collect();
    let new: Vec<GroupId> =
        spoken.iter().filter(|(_, s)| matches!(s, Spoken::New(_))).map(|(&group, _)| group).collect();
    if !unowned.is_empty() && (new.is_empty() || !is_beginning(ours)) {
        // Only the groups know the owner of a shard: giving it away here could lose it or serve it twice. It
        // may be with a group that is down, or on its way between two that reported at different times.
        let unowned: ShardSet = unowned.into_iter().collect();
        return Err(format!("no group owns the shards {unowned}; is a group missing from --groups?"));
    }
    let nowhere = vec![None; unowned.len()];
    let layout = Layout { groups: &new, owners: &nowhere, pins: &BTreeMap::new() };
    let shares = plan(Policy::Minimal, layout).map_err(|error| error.to_string())?;
    Ok(unowned.into_iter().zip(shares).collect())
}

/// Returns the one cluster of all registered replicas; `None` if all are empty.
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

/// Returns the statement of each group, and the groups that may be missing; or the missing reports.
fn statements<'a>(
    settings: &Settings,
    old: Option<&Record>,
    heard: &'a Heard,
    ours: &[&'a Registration],
) -> Result<Statements<'a>, String> {
    let mut expected: BTreeSet<GroupId> = ours.iter().map(|r| r.group).collect();
    match old {
        Some(record) => expected.extend(record.groups.keys()),
        None => expected.extend((0..settings.groups).map(GroupId).chain(heard.existing())),
    }
    let (mut spoken, mut missing, mut absent) = (BTreeMap::new(), Vec::new(), Vec::new());
    for group in expected {
        let reports = ours.iter().filter(|r| r.group == group).filter_map(|r| r.held.report());
        let leader = reports.filter(|report| report.confirmed).max_by_key(|report| report.reign());
        if let Some(report) = leader {
            spoken.insert(group, Spoken::Exists(report));
            continue;
        }
        let exists = old.is_some() || heard.exists(group);
        let problem = match first_members(settings, heard, group) {
            Ok(members) if !exists => {
                spoken.insert(group, Spoken::New(members));
                continue;
            }
            Err(problem) if !exists => problem,
            _ => unreported(group),
        };
        let recorded = old.and_then(|record| record.groups.get(&group));
        let list = if heard.is_absent(group, recorded) { &mut absent } else { &mut missing };
        list.push(problem);
    }
    if missing.is_empty() {
        return Ok(Statements { spoken, absent });
    }
    missing.append(&mut absent);
    Err(missing.join(", "))
}

/// Returns true if groups that have spoken have every shard, so that no other can have one.
fn is_all_claimed(old: Option<&Record>, claimed: &[Option<Owner>]) -> bool {
    let at_least = |shard: usize| old.and_then(|record| record.owners.get(shard)).map(|owner| owner.epoch);
    claimed
        .iter()
        .enumerate()
        .all(|(shard, owner)| owner.is_some_and(|owner| Some(owner.epoch) >= at_least(shard)))
}

/// Returns true if no report is of a time after the first founding, so that a shard without an owner
/// never had one. The end of the founding raises the map revision, if nothing else has raised it before: see
/// `draft`.
fn is_beginning(ours: &[&Registration]) -> bool {
    ours.iter().all(|registration| {
        let epoch = registration.held.report().map_or(Epoch(0), Report::highest_epoch);
        registration.known_revision() <= FIRST.0 && epoch <= FIRST.1
    })
}

impl Spoken<'_> {
    fn takes_shards(&self) -> bool {
        !matches!(self, Spoken::Exists(report) if report.retired)
    }
}

/// Returns the reason why nothing is done about a group that exists.
pub(super) fn unreported(group: GroupId) -> String {
    format!("{group} exists, but no leader of it reports what it has")
}

/// Returns the owner of each shard that some group claims: of two claims the one with the higher epoch wins.
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

/// Returns the first members of a group that never existed before; or the reason why they aren't known.
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

/// Returns members with their registered addresses; else with the recorded, else with the reported ones.
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
