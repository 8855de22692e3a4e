//! Groups that end: a group that reports itself retired has nothing and takes nothing any more, and is
//! taken out of the record. Leftover replicas of it are kept apart from a group that is made again under
//! its number. Pure.

use skv_sharding::{ClusterId, GroupId, GroupUid};

use super::configuration::{take_out, with_groups};
use super::heard::Heard;
use super::registration::{Held, Plan, Registration};
use crate::record::{Record, RetiredGroup};

/// Returns the plan for a replica of a group that no longer exists; `None` if the replica isn't one.
pub(super) fn answer(record: Option<&Record>, registration: &Registration) -> Option<Plan> {
    let Registration { group, replica, held, .. } = registration;
    let stop = Plan::Wait { reason: format!("{group} is retired: its servers can be stopped") };
    let report = match held {
        Held::Nothing => return None,
        // The replica has just started, and can't report its group yet.
        Held::Place { cluster } => {
            return record.is_some_and(|r| is_left_over(r, *cluster, *group)).then_some(stop);
        }
        Held::Data { report, .. } => report,
    };
    let Some(record) = record else {
        let reason = format!("{group} is retired, and there is no map yet");
        return report.retired.then_some(Plan::Wait { reason });
    };
    match record.retired.get(report.uid) {
        // The group was made again, and this server with it, on the disk of an old one.
        Some(retired) if report.retired && !retired.instances.contains(&replica.instance) => {
            Some(Plan::Retired)
        }
        Some(_) => Some(stop),
        // No record names the group any more.
        None if report.retired && record.groups.get(group).is_none_or(|known| known.uid != report.uid) => {
            Some(Plan::Retired)
        }
        None => None,
    }
}

fn is_left_over(record: &Record, cluster: ClusterId, group: GroupId) -> bool {
    record.cluster == cluster && !record.groups.contains_key(&group) && record.retired.had(group)
}

/// Takes the report of a group that it is retired: it no longer shares the shards, and once the record has
/// no shard with it, it is removed. Returns the reason if that has to wait.
pub(super) fn retire(
    record: &mut Record,
    heard: &Heard,
    group: GroupId,
    uid: GroupUid,
) -> Result<(), String> {
    let newest = record.history.newest();
    if newest.groups.contains(&group) {
        let (mut groups, mut pins) = (newest.groups, record.pins.clone());
        take_out(&[group], &mut groups, &mut pins);
        *record =
            with_groups(record, groups, pins).map_err(|error| format!("{group} is retired, but {error}"))?;
    }
    if record.owners.iter().any(|owner| owner.group == group) {
        return Err(format!("{group} is retired, and it isn't known yet where its shards have gone"));
    }
    let registered = heard.group(group).map(|registration| &registration.replica);
    let known = record.groups.remove(&group).into_iter().flat_map(|known| known.members);
    let mut instances: Vec<String> = registered
        .map(|replica| replica.instance.clone())
        .chain(known.map(|member| member.instance))
        .collect();
    instances.sort_unstable();
    instances.dedup();
    record.retired.remember(RetiredGroup { uid, group, instances });
    Ok(())
}
