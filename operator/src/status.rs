//! What is to be said of a resource. Pure: from what was seen to a status, and from two
//! statuses to the Events of what changed between them.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::{Event, EventType};
use skv_resource::{Founded, GroupStatus, Image, Problem, ShardedKvSpec, ShardedKvStatus};
use skv_sharding::GroupId;

use crate::care::Care;
use crate::dereference::{Observed, ObservedServers};
use crate::names::{Names, ServerSet};
use crate::placement;
use crate::wanted::wanted;

/// The conditions of a resource.
pub(crate) const VALID: &str = "Valid";
pub(crate) const AVAILABLE: &str = "Available";
pub(crate) const PROGRESSING: &str = "Progressing";
pub(crate) const DEGRADED: &str = "Degraded";

/// The reason of a resource with which nothing goes on.
const COMPLETE: &str = "Complete";

/// How many pods are named when many have problems.
const MOST_NAMED: usize = 3;

/// A condition before it has a time.
pub(crate) struct Verdict {
    type_: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// What a pass over a valid resource came upon.
pub(crate) struct Circumstances<'a> {
    /// What was seen.
    pub(crate) seen: &'a Observed,
    /// What is being done about it.
    pub(crate) care: &'a Care,
    /// Objects were changed after they were seen.
    pub(crate) changed: bool,
    /// What ended the pass early, if anything did.
    pub(crate) failure: Option<&'a str>,
}

/// The status of a valid resource.
pub(crate) fn observed(
    names: &Names,
    spec: &ShardedKvSpec,
    old: &ShardedKvStatus,
    circumstances: &Circumstances<'_>,
    generation: Option<i64>,
    now: Timestamp,
) -> ShardedKvStatus {
    let Circumstances { seen, care, .. } = *circumstances;
    let groups = remembering(group_statuses(spec, seen), seen, old);
    let (servers, ready) = count_servers(spec, seen, &groups);
    let owned: u32 = groups.iter().map(|group| group.shards).sum();
    let versions: BTreeSet<&str> = seen.images.iter().map(|image| Image::version_of(image)).collect();
    let verdicts = [
        Verdict {
            type_: VALID,
            holds: true,
            reason: "Valid",
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
        selector: selector_text(names),
        ready: format!("{ready}/{servers}"),
        shards: format!("{owned}/{}", spec.shards),
        moving: map.map_or(old.moving, |map| map.moving),
        version: versions.into_iter().collect::<Vec<_>>().join(","),
        cluster: map.map(|map| map.cluster.to_string()).or_else(|| old.cluster.clone()),
        configuration: map.map_or(old.configuration, |map| map.configuration),
        groups,
        replacing: old.replacing.clone().filter(|_| !care.replaced),
        founded: Some(old.founded.clone().unwrap_or_else(|| Founded::from(spec))),
    }
}

/// The status of a resource that can't be: all that was said of what runs stays.
pub(crate) fn invalid(
    old: &ShardedKvStatus,
    problems: &[Problem],
    generation: Option<i64>,
    now: Timestamp,
) -> ShardedKvStatus {
    let message = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
    ShardedKvStatus {
        observed_generation: generation,
        conditions: conditions(&old.conditions, [is_invalid("Invalid", message.clone())], generation, now),
        summary: message,
        ..old.clone()
    }
}

/// The condition of a resource that can't even be read.
pub(crate) fn is_invalid(reason: &'static str, message: String) -> Verdict {
    Verdict { type_: VALID, holds: false, reason, message }
}

/// What a person would want to know of the difference: each condition that changed.
pub(crate) fn events(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    let changed = new.iter().filter(|condition| {
        let before = old.iter().find(|before| before.type_ == condition.type_);
        match before {
            Some(before) => before.status != condition.status || before.reason != condition.reason,
            // The first time only what is amiss is news.
            None => is_amiss(condition),
        }
    });
    changed
        .map(|condition| Event {
            type_: if is_amiss(condition) { EventType::Warning } else { EventType::Normal },
            reason: condition.reason.clone(),
            note: Some(shortened(&condition.message)),
            action: condition.type_.clone(),
            secondary: None,
        })
        .collect()
}

/// New conditions over old ones: a time changes only with its condition's status.
pub(crate) fn conditions(
    old: &[Condition],
    verdicts: impl IntoIterator<Item = Verdict>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = old.to_vec();
    for Verdict { type_, holds, reason, message } in verdicts {
        let status = if holds { "True" } else { "False" };
        let before = all.iter().position(|condition| condition.type_ == type_);
        let since = before.map(|at| &all[at]).filter(|condition| condition.status == status);
        let condition = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        };
        match before {
            Some(at) => all[at] = condition,
            None => all.push(condition),
        }
    }
    all
}

fn group_statuses(spec: &ShardedKvSpec, seen: &Observed) -> Vec<GroupStatus> {
    let wanted = wanted(spec, seen);
    let existing = placement::groups(spec, seen.servers.keys());
    let beyond = existing.difference(&wanted);
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
            shards: map.and_then(|map| map.shards.get(&id).copied()).unwrap_or(0),
        }
    })
    .collect()
}

/// How many servers these groups have, and how many of them are ready. In a ring all groups
/// have the same.
fn count_servers(spec: &ShardedKvSpec, seen: &Observed, groups: &[GroupStatus]) -> (u32, u32) {
    if spec.ring().is_some() {
        let ring = seen.servers.get(&ServerSet::Ring);
        return ring.map_or((spec.groups, 0), |servers| (servers.replicas(), servers.ready()));
    }
    let sum = |count: fn(&GroupStatus) -> u32| groups.iter().map(count).sum();
    (sum(|group| group.replicas), sum(|group| group.ready_replicas))
}

/// While the shard manager can't be asked, what it said last still stands.
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

/// Of groups that come or go nobody misses anything: they have no shard. Before the first
/// configuration none has.
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
        return Verdict { type_: AVAILABLE, holds: true, reason: "QuorumReady", message };
    }
    let message = format!("no majority is ready of {}", named(&without));
    // Before the first configuration there was none to lose.
    let reason = if old.cluster.is_some() { "NoQuorum" } else { "Starting" };
    Verdict { type_: AVAILABLE, holds: false, reason, message }
}

/// All was done, of this very specification.
fn was_complete(old: &ShardedKvStatus, generation: Option<i64>) -> bool {
    let complete = |condition: &Condition| condition.type_ == PROGRESSING && condition.reason == COMPLETE;
    old.observed_generation == generation && old.conditions.iter().any(complete)
}

fn progressing(
    spec: &ShardedKvSpec,
    circumstances: &Circumstances<'_>,
    groups: &[GroupStatus],
    was_complete: bool,
) -> Verdict {
    let Circumstances { seen, care, changed, failure } = circumstances;
    let verdict = |holds, reason, message| Verdict { type_: PROGRESSING, holds, reason, message };
    if let Some(failure) = failure {
        return verdict(false, "ApplyFailed", (*failure).to_owned());
    }
    if spec.paused {
        return verdict(false, "Paused", "spec.paused is true: nothing is changed".to_owned());
    }
    if let Some(refused) = &care.refused {
        return verdict(false, "VolumesCannotGrow", refused.clone());
    }
    let moving = seen.map.as_ref().map_or(0, |map| map.moving);
    let moving = (moving > 0).then(|| format!("{moving} of {} shards are on their way", spec.shards));
    let doing: Vec<&str> =
        care.doing.iter().chain(&moving).chain(&care.turnover).map(String::as_str).collect();
    if !doing.is_empty() {
        let reason = if care.doing.is_some() { "Changing" } else { "Moving" };
        return verdict(true, reason, shortened(&doing.join("; ")));
    }
    let starting: Vec<&str> = groups
        .iter()
        .filter(|group| group.ready_replicas < group.replicas)
        .map(|group| group.name.as_str())
        .collect();
    if !starting.is_empty() {
        return verdict(true, "Starting", format!("waiting for servers of {}", named(&starting)));
    }
    if *changed {
        return verdict(true, "Changing", "the specification has just been applied".to_owned());
    }
    let surplus =
        |servers: &ObservedServers| servers.pods.keys().any(|ordinal| *ordinal >= servers.replicas());
    if seen.servers.values().any(surplus) {
        return verdict(true, "Changing", "waiting for servers that are too many to stop".to_owned());
    }
    // Without it nobody knows whether all groups share the shards.
    let is_unknown = seen.map.is_none() && !was_complete;
    if is_unknown || !seen.managers_rolled_out || seen.ready_managers < spec.shard_manager.replicas {
        return verdict(true, "Starting", "waiting for the shard manager".to_owned());
    }
    verdict(false, COMPLETE, "Everything is as the specification says".to_owned())
}

fn degraded(
    circumstances: &Circumstances<'_>,
    old: &ShardedKvStatus,
    (servers, ready): (u32, u32),
) -> Verdict {
    let Circumstances { seen, care, .. } = circumstances;
    let verdict = |holds, reason, message| Verdict { type_: DEGRADED, holds, reason, message };
    if !care.lost.is_empty() {
        let lost = GroupId::list(&care.lost);
        let message = format!(
            "a majority of the replicas of {lost} is gone for good; `skv group reset` revives a group with what one \
             replica still has"
        );
        return verdict(true, "QuorumLost", message);
    }
    if !seen.problems.is_empty() {
        let named: Vec<&str> = seen.problems.iter().map(String::as_str).take(MOST_NAMED).collect();
        return verdict(true, "PodsNotRunning", shortened(&named.join("; ")));
    }
    let missing = servers.saturating_sub(ready);
    // Before all were there once, they are merely about to start.
    let began = old.conditions.iter().any(|condition| {
        condition.type_ == PROGRESSING && !["Starting", "ApplyFailed"].contains(&condition.reason.as_str())
            || condition.type_ == DEGRADED && condition.status == "True"
    });
    // One that is being replaced is meant to be away.
    let replaced = u32::from(old.replacing.is_some() && !care.replaced);
    if missing > replaced && began {
        return verdict(true, "ReplicasNotReady", format!("{missing} of {servers} servers are not ready"));
    }
    verdict(false, "Healthy", "No server has a problem".to_owned())
}

/// The first of what is amiss, or of what goes on.
fn summary(spec: &ShardedKvSpec, verdicts: &[Verdict]) -> String {
    let find = |type_, holds| verdicts.iter().find(|v| v.type_ == type_ && v.holds == holds);
    let failed = verdicts.iter().find(|v| v.reason == "ApplyFailed");
    let first = failed
        .or_else(|| find(DEGRADED, true))
        .or_else(|| find(PROGRESSING, true))
        .or_else(|| find(AVAILABLE, false))
        .or_else(|| find(PROGRESSING, false));
    let text = first.map_or_else(String::new, |verdict| verdict.message.clone());
    if spec.paused && failed.is_none() && !text.starts_with("spec.paused") {
        return format!("paused; {text}");
    }
    text
}

fn selector_text(names: &Names) -> String {
    let labels = names.server_labels();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn is_amiss(condition: &Condition) -> bool {
    let bad = match condition.type_.as_str() {
        AVAILABLE if condition.reason == "Starting" => return false,
        VALID | AVAILABLE => "False",
        DEGRADED => "True",
        _ => return ["ApplyFailed", "VolumesCannotGrow"].contains(&condition.reason.as_str()),
    };
    condition.status == bad
}

fn named(all: &[&str]) -> String {
    let shown = all.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Events and summaries take at most 1 kB.
fn shortened(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 900).last().unwrap_or(0);
    if text.len() > 1000 { format!("{}...", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
