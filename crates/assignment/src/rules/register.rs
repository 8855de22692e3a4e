//! Decides on a registration: from the record, the recent registrations and one more to the next record
//! and a plan. Pure.

use std::time::Duration;

use skv_sharding::{ClusterId, MapRevision};

use super::checks::{check_name, check_origin, check_room};
use super::decision::Decision;
use super::draft::Draft;
use super::heard::Heard;
use super::registration::{Held, Plan, Refusal, Registration};
use super::settings::{Ids, Settings};
use super::{rebuild, retirement};
use crate::record::Record;

/// Decides on one registration.
///
/// Deciding again on the same registration, say with a newer record, does no harm.
pub fn register(
    settings: &Settings,
    record: Option<&Record>,
    heard: &mut Heard,
    registration: &Registration,
    now: Duration,
    ids: &mut Ids<'_>,
) -> Result<Decision, Refusal> {
    heard.forget_silent(now);
    if let Some(plan) = retirement::answer(record, registration) {
        heard.drop_replica(registration);
        let (revision, cluster) = record.map(|record| (record.revision, record.cluster)).unzip();
        return Ok(Decision { change: None, revision: revision.unwrap_or_default(), cluster, plan });
    }
    check_origin(settings, record, registration)?;
    check_name(settings, record, heard, registration)?;
    if let Some(decision) = record.and_then(|record| answer_to_twin(record, registration)) {
        heard.drop_replica(registration);
        return Ok(decision);
    }
    check_room(record, heard, registration)?;
    heard.note(registration, now);

    let stale = record.and_then(|record| rebuild::evidence_against(record, heard));
    let mut draft = match record {
        Some(record) if stale.is_none() => Draft::of(record),
        _ => match rebuild::rebuild(settings, record, heard, ids) {
            Ok(rebuilt) => Draft::rebuilt(rebuilt, heard),
            Err(missing) => {
                let reason = match stale {
                    Some(stale) => format!("the map must be rebuilt, since {stale}: {missing}"),
                    None => format!("there is no map yet: {missing}"),
                };
                let (cluster, plan) = match counted_on(heard, registration) {
                    Some((cluster, plan)) => (Some(cluster), plan),
                    None => (record.map(|record| record.cluster), Plan::Wait { reason }),
                };
                let revision = record.map_or(MapRevision(0), |record| record.revision);
                return Ok(Decision { change: None, revision, cluster, plan });
            }
        },
    };
    let plan = match registration.held.report() {
        None => draft.admit(settings, registration, heard, ids),
        Some(report) => draft.follow(settings, registration, report, heard),
    };
    Ok(draft.decide(plan))
}

/// Returns the decision on a twin of the recorded incarnation, which isn't noted: with a higher number its
/// reports would count as newer than those of the group.
fn answer_to_twin(record: &Record, registration: &Registration) -> Option<Decision> {
    let group = record.groups.get(&registration.group)?;
    let report = registration.held.report().filter(|report| report.incarnation > group.incarnation)?;
    report.is_of_another_life(group.incarnation).then_some(Decision {
        change: None,
        revision: record.revision,
        cluster: Some(record.cluster),
        plan: Plan::Join { uid: group.uid, incarnation: group.incarnation },
    })
}

/// Returns the cluster and plan for a first member that has not begun while the record was lost: its group
/// may need it to elect the leader that the rebuilding waits for. The plan names its cluster, which founds
/// nothing.
fn counted_on(heard: &Heard, registration: &Registration) -> Option<(ClusterId, Plan)> {
    if registration.held != Held::Nothing {
        return None;
    }
    let reports = || {
        heard
            .group(registration.group)
            .filter_map(|other| Some((other.held.cluster()?, other.held.report()?)))
    };
    // The old members of a revived group may still run: no replica may help them to a leader.
    let incarnation = reports().map(|(_, report)| report.incarnation).max()?;
    reports().filter(|(_, report)| report.incarnation == incarnation).find_map(|(cluster, report)| {
        let is_member = report.members.iter().any(|m| m.id == registration.replica.id);
        is_member.then_some((cluster, Plan::Join { uid: report.uid, incarnation }))
    })
}
