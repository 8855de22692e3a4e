//! The status of a resource, from its observed state.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use skv_resource::{Founded, GroupStatus, Image, ShardedKvSpec, ShardedKvStatus};
use skv_sharding::GroupId;

use crate::condition::{
    ConditionType, MOST_NAMED, Notice, Reason, Verdict, conditions, named, notices, shortened,
};
use crate::evictions;
use crate::kstatus::for_programs;
use crate::names::{Names, ServerSet};
use crate::observed::{Observed, ObservedMap, ObservedServers};
use crate::placement;
use crate::resolved::Resolved;
use crate::rollout::Outcome;
use crate::spread;

/// The first failure of a pass.
#[derive(Debug, Clone, Copy)]
pub enum Failure<'a> {
    /// It may pass by itself.
    Passing(&'a str),
    /// It lasts until a person does something.
    Lasting(&'a str),
}

/// The course of a pass over a resource.
pub struct Circumstances<'a> {
    /// The verdict on the resource's own specification. If that isn't valid, the pass went by the last one
    /// that was.
    pub validity: &'a Verdict,
    /// Everything that was observed.
    pub seen: &'a Observed,
    /// The steps that were taken, and the work under way.
    pub outcome: &'a Outcome,
    /// True if objects were changed after they were observed.
    pub changed: bool,
    /// True unless a live look was due and failed: what only a look shows isn't known then.
    pub looked: bool,
    /// The first failure of the pass.
    pub failure: Option<Failure<'a>>,
}

/// Returns the status of a resource that is cared for.
pub fn observed(
    resolved: &Resolved,
    old: &ShardedKvStatus,
    circumstances: &Circumstances<'_>,
    generation: Option<i64>,
    now: Timestamp,
) -> ShardedKvStatus {
    let Circumstances { seen, outcome, .. } = *circumstances;
    let spec = &resolved.spec;
    let groups = remembering(group_statuses(resolved, seen), seen, old);
    let (servers, ready) = count_servers(spec, seen, &groups);
    let owned: u32 = groups.iter().map(|group| group.shards).sum();
    let versions: BTreeSet<&str> = seen.images.iter().map(|image| Image::version_of(image)).collect();
    let mut verdicts = vec![
        circumstances.validity.clone(),
        available(old, &serving(&groups, old)),
        progressing(spec, circumstances, &groups, was_complete(old, generation)),
        degraded(circumstances, old, count_servers(spec, seen, &serving(&groups, old))),
    ];
    verdicts.extend(spread::verdict(resolved, seen, &old.conditions));
    let summary = summary(spec, &verdicts);
    let map = seen.map.as_ref();
    ShardedKvStatus {
        observed_generation: generation,
        conditions: with_those_for_programs(&old.conditions, verdicts, generation, now),
        summary,
        group_count: placement::groups(spec, seen.servers.keys()).len() as u32,
        selector: selector_text(&resolved.names),
        ready: format!("{ready}/{servers}"),
        shards: format!("{owned}/{}", spec.shards),
        moving: map.map_or(old.moving, |map| map.assignment.moving()),
        version: versions.into_iter().collect::<Vec<_>>().join(","),
        cluster: map.map(|map| map.cluster.to_string()).or_else(|| old.cluster.clone()),
        configuration: map.map_or(old.configuration, |map| map.configuration),
        groups,
        replacing: old.replacing.clone().filter(|_| !outcome.replaced),
        lost: outcome.lost_servers.clone().unwrap_or_else(|| old.lost.clone()),
        replaced: old.replaced.clone(),
        held_evictions: evictions::held(resolved, seen).unwrap_or_else(|| old.held_evictions.clone()),
        founded: Some(old.founded.clone().unwrap_or_else(|| Founded::from(spec))),
        accepted: accepted(spec, old, circumstances.validity),
    }
}

/// Returns the last valid specification, to go by when the next one isn't.
fn accepted(spec: &ShardedKvSpec, old: &ShardedKvStatus, validity: &Verdict) -> Option<Value> {
    let now = validity.holds.then(|| serde_json::to_value(spec).ok()).flatten();
    now.or_else(|| old.accepted.clone())
}

fn with_those_for_programs(
    old: &[Condition],
    said: Vec<Verdict>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let for_programs = for_programs(&said);
    conditions(old, said.into_iter().chain(for_programs), generation, now)
}

/// Returns the status, and the notices, of a resource that can't be used and never could, so that there is
/// nothing to care for. Statuses that can't be read keep their other fields.
pub fn refused(
    old: &Value,
    verdict: Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Result<(Value, Vec<Notice>), serde_json::Error> {
    // Conditions that can't be read either are written again.
    let before: Vec<Condition> = serde_json::from_value(old["conditions"].clone()).unwrap_or_default();
    let summary = verdict.message.clone();
    let after = with_those_for_programs(&before, vec![verdict], generation, now);
    let mut new = if old.is_object() { old.clone() } else { json!({}) };
    new["conditions"] = serde_json::to_value(&after)?;
    new["observedGeneration"] = json!(generation);
    new["summary"] = json!(summary);
    Ok((new, notices(&before, &after)))
}

fn group_statuses(Resolved { spec, wanted, .. }: &Resolved, seen: &Observed) -> Vec<GroupStatus> {
    let existing = placement::groups(spec, seen.servers.keys());
    let beyond = existing.difference(wanted);
    let all = wanted.iter().chain(beyond).copied();
    all.map(|id| {
        let servers = seen.servers.get(&placement::set_of(spec, id)).filter(|servers| !servers.is_missing());
        let (replicas, ready_replicas) =
            servers.map_or((spec.replicas, 0), |servers| placement::replicas(spec, id, servers));
        let map = seen.map.as_ref();
        GroupStatus {
            name: id.to_string(),
            replicas,
            ready_replicas,
            leader: map.and_then(|map| map.leaders.get(&id).cloned()),
            shards: map.map_or(0, |map| map.assignment.shards_of(id)),
        }
    })
    .collect()
}

/// Returns the number of servers of these groups, and how many of them are ready. In a ring all groups
/// have the same servers.
fn count_servers(spec: &ShardedKvSpec, seen: &Observed, groups: &[GroupStatus]) -> (u32, u32) {
    if spec.ring().is_some() {
        let ring = seen.servers.get(&ServerSet::Ring);
        return ring.map_or((spec.groups, 0), |servers| (servers.replicas(), servers.ready()));
    }
    let sum = |count: fn(&GroupStatus) -> u32| groups.iter().map(count).sum();
    (sum(|group| group.replicas), sum(|group| group.ready_replicas))
}

/// Keeps the shard manager's last statements about the groups while it can't be asked.
fn remembering(mut groups: Vec<GroupStatus>, seen: &Observed, old: &ShardedKvStatus) -> Vec<GroupStatus> {
    if seen.map.is_none() {
        for group in &mut groups {
            if let Some(before) = old.groups.iter().find(|before| before.name == group.name) {
                group.leader.clone_from(&before.leader);
                group.shards = before.shards;
            }
        }
    }
    groups
}

/// Returns the groups that have shards: while others come or go, no client misses data. Before the first
/// configuration no group has any.
fn serving(groups: &[GroupStatus], old: &ShardedKvStatus) -> Vec<GroupStatus> {
    let serves = |group: &&GroupStatus| group.shards > 0 || old.cluster.is_none();
    groups.iter().filter(serves).cloned().collect()
}

fn available(old: &ShardedKvStatus, groups: &[GroupStatus]) -> Verdict {
    let without: Vec<&str> = groups
        .iter()
        .filter(|group| group.ready_replicas * 2 <= group.replicas)
        .map(|group| group.name.as_str())
        .collect();
    if without.is_empty() {
        let message = "A majority of each group is ready".to_owned();
        return Verdict {
            type_: ConditionType::Available,
            holds: true,
            reason: Reason::QuorumReady,
            message,
        };
    }
    let message = format!("no majority is ready of {}", named(&without));
    // Before the first configuration there was no majority to lose.
    let reason = if old.cluster.is_some() { Reason::NoQuorum } else { Reason::Starting };
    Verdict { type_: ConditionType::Available, holds: false, reason, message }
}

/// Returns true if all work was done, for this very specification.
fn was_complete(old: &ShardedKvStatus, generation: Option<i64>) -> bool {
    let complete = |condition: &Condition| {
        is_of(condition, ConditionType::Progressing) && Reason::of(condition) == Some(Reason::Complete)
    };
    old.observed_generation == generation && old.conditions.iter().any(complete)
}

fn is_of(condition: &Condition, type_: ConditionType) -> bool {
    ConditionType::of(condition) == Some(type_)
}

fn progressing(
    spec: &ShardedKvSpec,
    circumstances: &Circumstances<'_>,
    groups: &[GroupStatus],
    was_complete: bool,
) -> Verdict {
    let Circumstances { seen, outcome, changed, failure, .. } = circumstances;
    let verdict =
        |holds, reason, message| Verdict { type_: ConditionType::Progressing, holds, reason, message };
    match failure {
        Some(Failure::Passing(failure)) => return verdict(true, Reason::Retrying, (*failure).to_owned()),
        Some(Failure::Lasting(failure)) => return verdict(false, Reason::ApplyFailed, (*failure).to_owned()),
        None => {}
    }
    if spec.paused {
        return verdict(false, Reason::Paused, "spec.paused is true: nothing is changed".to_owned());
    }
    if let Some(refused) = outcome.refused.as_ref().or(seen.growth.hopeless.first()) {
        return verdict(false, Reason::VolumesCannotGrow, refused.clone());
    }
    let moving = seen.map.as_ref().map_or(0, |map| map.assignment.moving());
    let moving = (moving > 0).then(|| format!("{moving} of {} shards are on their way", spec.shards));
    let doing: Vec<&str> =
        outcome.doing.iter().chain(&moving).chain(&outcome.turnover).map(String::as_str).collect();
    if !doing.is_empty() {
        let reason = if outcome.doing.is_some() { Reason::Changing } else { Reason::Moving };
        return verdict(true, reason, shortened(&doing.join("; ")));
    }
    let starting: Vec<&str> = groups
        .iter()
        .filter(|group| group.ready_replicas < group.replicas)
        .map(|group| group.name.as_str())
        .collect();
    if !starting.is_empty() {
        return verdict(true, Reason::Starting, format!("waiting for servers of {}", named(&starting)));
    }
    if *changed {
        return verdict(true, Reason::Changing, "the specification has just been applied".to_owned());
    }
    let surplus =
        |servers: &ObservedServers| servers.pods.keys().any(|ordinal| *ordinal >= servers.replicas());
    if seen.servers.values().any(surplus) {
        return verdict(true, Reason::Changing, "waiting for servers that are too many to stop".to_owned());
    }
    if !seen.growth.under_way.is_empty() {
        let growing: Vec<&str> = seen.growth.under_way.iter().map(String::as_str).collect();
        let message = format!("waiting for volumes to grow: {}", named(&growing));
        return verdict(true, Reason::VolumesGrowing, shortened(&message));
    }
    // Without the map it is unknown whether all groups share the shards.
    let is_unknown = seen.map.is_none() && !was_complete;
    if is_unknown || !seen.managers_rolled_out || seen.ready_managers < spec.shard_manager.replicas {
        return verdict(true, Reason::Starting, "waiting for the shard manager".to_owned());
    }
    verdict(false, Reason::Complete, "Everything is as the specification says".to_owned())
}

fn degraded(
    circumstances: &Circumstances<'_>,
    old: &ShardedKvStatus,
    (servers, ready): (u32, u32),
) -> Verdict {
    let Circumstances { seen, outcome, looked, .. } = circumstances;
    if let Some(loss) = told_loss(old).filter(|_| !looked) {
        return loss;
    }
    let verdict = |holds, reason, message| Verdict { type_: ConditionType::Degraded, holds, reason, message };
    if !outcome.lost.is_empty() {
        let lost = GroupId::list(&outcome.lost);
        let message = format!(
            "a majority of the replicas of {lost} is gone for good; `skv group reset` revives a group with what one \
             replica still has"
        );
        return verdict(true, Reason::QuorumLost, message);
    }
    if let Some(waiting) = &outcome.waiting {
        return verdict(true, Reason::ReplicaLost, shortened(waiting));
    }
    let told = [
        (Reason::PodsForbidden, &seen.forbidden),
        (Reason::ReplicaRefuses, &seen.refusals),
        (Reason::PodsNotRunning, &seen.problems),
    ];
    if let Some((reason, problems)) = told.into_iter().find(|(_, problems)| !problems.is_empty()) {
        let told: Vec<&str> = problems.iter().map(String::as_str).take(MOST_NAMED).collect();
        return verdict(true, reason, shortened(&told.join("; ")));
    }
    if let Some((reason, message)) = seen.map.as_ref().and_then(full) {
        return verdict(true, reason, message);
    }
    let missing = servers.saturating_sub(ready);
    // Until all were there once, the servers are merely about to start.
    let began = old.conditions.iter().any(|condition| {
        is_of(condition, ConditionType::Progressing)
            && !matches!(
                Reason::of(condition),
                Some(Reason::Starting | Reason::ApplyFailed | Reason::Retrying)
            )
            || is_of(condition, ConditionType::Degraded) && condition.status == "True"
    });
    // A pod that is being replaced is meant to be away.
    let replaced = u32::from(old.replacing.is_some() && !outcome.replaced);
    if missing > replaced && began {
        return verdict(
            true,
            Reason::ReplicasNotReady,
            format!("{missing} of {servers} servers are not ready"),
        );
    }
    if seen.managers_away {
        let message = "the shard manager hasn't been ready, or hasn't answered, for more than two minutes: what is stored \
                       is served, but no group comes or goes, and no replica is replaced";
        return verdict(true, Reason::ShardManagerUnavailable, message.to_owned());
    }
    verdict(false, Reason::Healthy, "No server has a problem".to_owned())
}

/// Returns the earlier verdict that replicas are gone for good, which only a live look finds.
fn told_loss(old: &ShardedKvStatus) -> Option<Verdict> {
    let degraded = old.conditions.iter().find(|condition| is_of(condition, ConditionType::Degraded))?;
    let reason = Reason::of(degraded);
    let reason = reason.filter(|reason| matches!(reason, Reason::QuorumLost | Reason::ReplicaLost))?;
    let message = degraded.message.clone();
    Some(Verdict { type_: ConditionType::Degraded, holds: true, reason, message })
}

/// Returns the reason and the message of groups that lack room for writes.
fn full(map: &ObservedMap) -> Option<(Reason, String)> {
    let those =
        |groups: &BTreeSet<GroupId>| named(&groups.iter().map(GroupId::to_string).collect::<Vec<_>>());
    if !map.disk_full.is_empty() {
        let message = format!("no room on the disks of {}: writes are refused", those(&map.disk_full));
        return Some((Reason::DiskFull, message));
    }
    let message =
        || format!("no room in the memory of {}: what makes data grow is refused", those(&map.memory_full));
    (!map.memory_full.is_empty()).then(|| (Reason::MemoryFull, message()))
}

/// Returns the first of the problems, else of the work under way.
fn summary(spec: &ShardedKvSpec, verdicts: &[Verdict]) -> String {
    let find = |type_, holds| verdicts.iter().find(|v| v.type_ == type_ && v.holds == holds);
    let failed = verdicts.iter().find(|v| matches!(v.reason, Reason::ApplyFailed | Reason::Retrying));
    let first = find(ConditionType::Valid, false)
        .or(failed)
        .or_else(|| find(ConditionType::Degraded, true))
        .or_else(|| find(ConditionType::Progressing, true))
        .or_else(|| find(ConditionType::Available, false))
        .or_else(|| find(ConditionType::Progressing, false));
    let text = first.map_or_else(String::new, |verdict| verdict.message.clone());
    let is_news = first.is_some_and(|verdict| verdict.reason != Reason::Paused);
    if spec.paused && failed.is_none() && is_news {
        return format!("paused; {text}");
    }
    text
}

fn selector_text(names: &Names) -> String {
    let labels = names.server_labels();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
