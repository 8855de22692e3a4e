//! The status of a resource, from its observed state.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use skv_resource::{Founded, GroupStatus, Image, Problem, ShardedKvSpec, ShardedKvStatus};
use skv_sharding::GroupId;

use crate::condition::{ConditionType, Reason, Verdict, conditions, shortened};
use crate::names::{Names, ServerSet};
use crate::observed::{Observed, ObservedMap, ObservedServers};
use crate::placement;
use crate::resolved::Resolved;
use crate::rollout::Outcome;

/// The number of pods that are named when many have problems.
const MOST_NAMED: usize = 3;

/// The course of a pass over a valid resource.
pub struct Circumstances<'a> {
    /// Everything that was observed.
    pub seen: &'a Observed,
    /// The steps that were taken, and the work under way.
    pub outcome: &'a Outcome,
    /// True if objects were changed after they were observed.
    pub changed: bool,
    /// The failure that ended the pass early.
    pub failure: Option<&'a str>,
}

/// Returns the status of a valid resource.
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
    let verdicts = [
        Verdict {
            type_: ConditionType::Valid,
            holds: true,
            reason: Reason::Valid,
            message: "The specification is valid".to_owned(),
        },
        available(old, &serving(&groups, old)),
        progressing(spec, circumstances, &groups, was_complete(old, generation)),
        degraded(circumstances, old, count_servers(spec, seen, &serving(&groups, old))),
    ];
    let summary = summary(spec, &verdicts);
    let map = seen.map.as_ref();
    ShardedKvStatus {
        observed_generation: generation,
        conditions: conditions(&old.conditions, verdicts, generation, now),
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
        founded: Some(old.founded.clone().unwrap_or_else(|| Founded::from(spec))),
    }
}

/// Returns the status of a resource that isn't valid: the statements about running servers stay.
pub fn invalid(
    old: &ShardedKvStatus,
    problems: &[Problem],
    generation: Option<i64>,
    now: Timestamp,
) -> ShardedKvStatus {
    let message = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
    let verdict = Verdict::invalid(Reason::Invalid, message.clone());
    ShardedKvStatus {
        observed_generation: generation,
        conditions: conditions(&old.conditions, [verdict], generation, now),
        summary: message,
        ..old.clone()
    }
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
    let Circumstances { seen, outcome, changed, failure } = circumstances;
    let verdict =
        |holds, reason, message| Verdict { type_: ConditionType::Progressing, holds, reason, message };
    if let Some(failure) = failure {
        return verdict(false, Reason::ApplyFailed, (*failure).to_owned());
    }
    if spec.paused {
        return verdict(false, Reason::Paused, "spec.paused is true: nothing is changed".to_owned());
    }
    if let Some(refused) = &outcome.refused {
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
    let Circumstances { seen, outcome, .. } = circumstances;
    let verdict = |holds, reason, message| Verdict { type_: ConditionType::Degraded, holds, reason, message };
    if !outcome.lost.is_empty() {
        let lost = GroupId::list(&outcome.lost);
        let message = format!(
            "a majority of the replicas of {lost} is gone for good; `skv group reset` revives a group with what one \
             replica still has"
        );
        return verdict(true, Reason::QuorumLost, message);
    }
    if !seen.problems.is_empty() {
        let named: Vec<&str> = seen.problems.iter().map(String::as_str).take(MOST_NAMED).collect();
        return verdict(true, Reason::PodsNotRunning, shortened(&named.join("; ")));
    }
    if let Some((reason, message)) = seen.map.as_ref().and_then(full) {
        return verdict(true, reason, message);
    }
    let missing = servers.saturating_sub(ready);
    // Until all were there once, the servers are merely about to start.
    let began = old.conditions.iter().any(|condition| {
        is_of(condition, ConditionType::Progressing)
            && !matches!(Reason::of(condition), Some(Reason::Starting | Reason::ApplyFailed))
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
    verdict(false, Reason::Healthy, "No server has a problem".to_owned())
}

/// Returns the reason and the message of groups that lack room for writes.
fn full(map: &ObservedMap) -> Option<(Reason, String)> {
    let those = |groups: &BTreeSet<GroupId>| {
        let names: Vec<String> = groups.iter().map(GroupId::to_string).collect();
        named(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
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
    let failed = verdicts.iter().find(|v| v.reason == Reason::ApplyFailed);
    let first = failed
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

fn named(all: &[&str]) -> String {
    let shown = all.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
