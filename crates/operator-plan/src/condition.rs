//! The conditions of a resource: their types, their reasons, and the notices for people when one changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The number of pods or places that are named when many are concerned.
pub(crate) const MOST_NAMED: usize = 3;

/// The type of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionType {
    /// The specification can be carried out.
    Valid,
    /// A majority of each group is ready.
    Available,
    /// Work is under way.
    Progressing,
    /// Something that was there is missing.
    Degraded,
    /// The servers of each group are in places of their own.
    Spread,
    /// Everything is as the specification says, and healthy.
    Ready,
    /// Work is under way that needs nobody's help.
    Reconciling,
    /// A person must do something.
    Stalled,
}

/// The reason of a condition. The names are part of the API: people wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The specification is valid.
    Valid,
    /// The specification isn't valid.
    Invalid,
    /// The resource can't be read.
    Unreadable,
    /// The specification is valid but for fields that this version of the operator doesn't know.
    UnknownFields,
    /// A majority of each group is ready.
    QuorumReady,
    /// A group has lost its majority.
    NoQuorum,
    /// Servers, or the shard manager, are about to start.
    Starting,
    /// An object can't be applied, or a step failed, until a person does something.
    ApplyFailed,
    /// Something failed that may succeed by itself; it is tried again.
    Retrying,
    /// The resource is paused.
    Paused,
    /// The storage class can't enlarge volumes.
    VolumesCannotGrow,
    /// Volumes were asked to grow, and haven't grown yet.
    VolumesGrowing,
    /// Servers are being changed.
    Changing,
    /// Shards move.
    Moving,
    /// Everything is as the specification says.
    Complete,
    /// A majority of a group's replicas is gone for good.
    QuorumLost,
    /// Replicas are gone for good, and can't be replaced yet.
    ReplicaLost,
    /// Pods can't be made: a quota or a policy forbids them.
    PodsForbidden,
    /// Replicas can't go on, and only a person can help.
    ReplicaRefuses,
    /// Pods don't run.
    PodsNotRunning,
    /// Groups refuse writes, since disks are full.
    DiskFull,
    /// Groups refuse what makes their data grow, for want of memory.
    MemoryFull,
    /// Servers that were there aren't ready.
    ReplicasNotReady,
    /// The shard manager hasn't been ready, or hasn't answered, for long.
    ShardManagerUnavailable,
    /// No server has a problem.
    Healthy,
    /// The servers of each group are in places of their own.
    Apart,
    /// Servers of a group share a node.
    SharedNode,
    /// Most servers of a group share a zone.
    SharedZone,
    /// Nothing waits for a person.
    Unhindered,
}

/// A condition before it has a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub(crate) type_: ConditionType,
    pub(crate) holds: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// News of a condition, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// True if the news is bad.
    pub is_warning: bool,
    /// The reason of the condition.
    pub reason: String,
    /// The condition's message.
    pub note: String,
    /// The condition's type.
    pub type_: String,
}

impl ConditionType {
    const ALL: [ConditionType; 8] = [
        ConditionType::Valid,
        ConditionType::Available,
        ConditionType::Progressing,
        ConditionType::Degraded,
        ConditionType::Spread,
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::Stalled,
    ];

    /// Returns its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            ConditionType::Valid => "Valid",
            ConditionType::Available => "Available",
            ConditionType::Progressing => "Progressing",
            ConditionType::Degraded => "Degraded",
            ConditionType::Spread => "Spread",
            ConditionType::Ready => "Ready",
            ConditionType::Reconciling => "Reconciling",
            ConditionType::Stalled => "Stalled",
        }
    }

    /// Returns the type of a condition, if it is one of ours.
    pub(crate) fn of(condition: &Condition) -> Option<ConditionType> {
        ConditionType::ALL.into_iter().find(|type_| type_.name() == condition.type_)
    }
}

impl Reason {
    const ALL: [Reason; 29] = [
        Reason::Valid,
        Reason::Invalid,
        Reason::Unreadable,
        Reason::UnknownFields,
        Reason::QuorumReady,
        Reason::NoQuorum,
        Reason::Starting,
        Reason::ApplyFailed,
        Reason::Retrying,
        Reason::Paused,
        Reason::VolumesCannotGrow,
        Reason::VolumesGrowing,
        Reason::Changing,
        Reason::Moving,
        Reason::Complete,
        Reason::QuorumLost,
        Reason::ReplicaLost,
        Reason::PodsForbidden,
        Reason::ReplicaRefuses,
        Reason::PodsNotRunning,
        Reason::DiskFull,
        Reason::MemoryFull,
        Reason::ReplicasNotReady,
        Reason::ShardManagerUnavailable,
        Reason::Healthy,
        Reason::Apart,
        Reason::SharedNode,
        Reason::SharedZone,
        Reason::Unhindered,
    ];

    /// Returns its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Valid => "Valid",
            Reason::Invalid => "Invalid",
            Reason::Unreadable => "Unreadable",
            Reason::UnknownFields => "UnknownFields",
            Reason::QuorumReady => "QuorumReady",
            Reason::NoQuorum => "NoQuorum",
            Reason::Starting => "Starting",
            Reason::ApplyFailed => "ApplyFailed",
            Reason::Retrying => "Retrying",
            Reason::Paused => "Paused",
            Reason::VolumesCannotGrow => "VolumesCannotGrow",
            Reason::VolumesGrowing => "VolumesGrowing",
            Reason::Changing => "Changing",
            Reason::Moving => "Moving",
            Reason::Complete => "Complete",
            Reason::QuorumLost => "QuorumLost",
            Reason::ReplicaLost => "ReplicaLost",
            Reason::PodsForbidden => "PodsForbidden",
            Reason::ReplicaRefuses => "ReplicaRefuses",
            Reason::PodsNotRunning => "PodsNotRunning",
            Reason::DiskFull => "DiskFull",
            Reason::MemoryFull => "MemoryFull",
            Reason::ReplicasNotReady => "ReplicasNotReady",
            Reason::ShardManagerUnavailable => "ShardManagerUnavailable",
            Reason::Healthy => "Healthy",
            Reason::Apart => "Apart",
            Reason::SharedNode => "SharedNode",
            Reason::SharedZone => "SharedZone",
            Reason::Unhindered => "Unhindered",
        }
    }

    /// Returns the reason of a condition, if it is one of ours.
    pub(crate) fn of(condition: &Condition) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == condition.reason)
    }
}

impl Verdict {
    /// Returns true if its condition is true.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Returns the verdict on a resource that can be carried out, but for fields that aren't known.
    pub fn valid(unknown: &[String]) -> Verdict {
        let type_ = ConditionType::Valid;
        if unknown.is_empty() {
            let message = "The specification is valid".to_owned();
            return Verdict { type_, holds: true, reason: Reason::Valid, message };
        }
        let message = format!(
            "The specification is valid; this version of the operator passes over fields that it doesn't know: {}",
            unknown.join(", ")
        );
        Verdict { type_, holds: true, reason: Reason::UnknownFields, message: shortened(&message) }
    }

    /// Returns the verdict on a resource that can't be used.
    pub fn invalid(reason: Reason, message: String) -> Verdict {
        Verdict { type_: ConditionType::Valid, holds: false, reason, message }
    }
}

/// Puts new conditions over old ones: a time changes only with its condition's status. Those of unknown types stay:
/// nothing tells one of a newer operator from one that another program added.
pub fn conditions(
    old: &[Condition],
    verdicts: impl IntoIterator<Item = Verdict>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = old.to_vec();
    for Verdict { type_, holds, reason, message } in verdicts {
        let status = if holds { "True" } else { "False" };
        let before = all.iter().position(|condition| condition.type_ == type_.name());
        let since = before.map(|at| &all[at]).filter(|condition| condition.status == status);
        let condition = Condition {
            type_: type_.name().to_owned(),
            status: status.to_owned(),
            reason: reason.name().to_owned(),
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

/// Returns a notice for each condition that changed, for people to read.
pub fn notices(old: &[Condition], new: &[Condition]) -> Vec<Notice> {
    // The conditions for programs say nothing that the others don't.
    let told = new.iter().filter(|condition| !ConditionType::of(condition).is_some_and(is_for_programs));
    let changed = told.filter(|condition| {
        let before = old.iter().find(|before| before.type_ == condition.type_);
        match before {
            Some(before) => before.status != condition.status || before.reason != condition.reason,
            // At first only bad conditions are news.
            None => is_amiss(condition),
        }
    });
    changed
        .map(|condition| Notice {
            is_warning: is_amiss(condition),
            reason: condition.reason.clone(),
            note: shortened(&condition.message),
            type_: condition.type_.clone(),
        })
        .collect()
}

fn is_for_programs(type_: ConditionType) -> bool {
    matches!(type_, ConditionType::Ready | ConditionType::Reconciling | ConditionType::Stalled)
}

fn is_amiss(condition: &Condition) -> bool {
    let reason = Reason::of(condition);
    match ConditionType::of(condition) {
        Some(ConditionType::Available) if reason == Some(Reason::Starting) => false,
        Some(ConditionType::Valid | ConditionType::Available | ConditionType::Spread) => {
            condition.status == "False"
        }
        Some(ConditionType::Degraded) => condition.status == "True",
        Some(ConditionType::Progressing) => {
            matches!(reason, Some(Reason::ApplyFailed | Reason::VolumesCannotGrow))
        }
        Some(ConditionType::Ready | ConditionType::Reconciling | ConditionType::Stalled) | None => false,
    }
}

/// Cuts a text: Events and summaries take at most 1 kB.
pub(crate) fn shortened(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 900).last().unwrap_or(0);
    if text.len() > 1000 { format!("{}...", &text[..end]) } else { text.to_owned() }
}

/// Returns the first of these, and the number of the others.
pub(crate) fn named(all: &[impl AsRef<str>]) -> String {
    let shown = all.iter().take(MOST_NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_reasons_are_found_by_their_names() {
        for type_ in ConditionType::ALL {
            let verdict = Verdict { type_, ..Verdict::invalid(Reason::Invalid, String::new()) };
            let condition = &conditions(&[], [verdict], None, Timestamp::UNIX_EPOCH)[0];
            assert_eq!(ConditionType::of(condition), Some(type_));
        }
        for reason in Reason::ALL {
            let verdict = Verdict::invalid(reason, String::new());
            let condition = &conditions(&[], [verdict], None, Timestamp::UNIX_EPOCH)[0];
            assert_eq!(
                (Reason::of(condition), format!("{reason:?}")),
                (Some(reason), condition.reason.clone())
            );
        }
    }

    #[test]
    fn the_documentation_explains_every_reason_and_every_condition() {
        let page = include_str!("../../../docs/kubernetes.md");
        let first = |line: &'static str| line.strip_prefix("| ")?.split(" |").next();
        let cells: Vec<&str> = page.lines().filter_map(first).collect();
        let reasons: Vec<String> = Reason::ALL.iter().map(|reason| format!("`{}`", reason.name())).collect();
        let table = page.lines().skip_while(|line| !line.starts_with("| reason |"));
        let rows = table.take_while(|line| line.starts_with('|')).filter_map(first);
        let explained: Vec<&str> = rows.filter(|cell| cell.starts_with('`')).collect();
        assert_eq!(explained, reasons);
        for type_ in ConditionType::ALL {
            assert!(cells.contains(&type_.name()), "{}", type_.name());
        }
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let text = shortened(&"ä".repeat(1000));
        assert!(text.len() < 1000 && text.ends_with("..."), "{}", text.len());
        assert_eq!(shortened("short"), "short");
    }
}
