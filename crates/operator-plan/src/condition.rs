//! The conditions of a resource: their types, their reasons, and the notices for people when one changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

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
    /// A majority of each group is ready.
    QuorumReady,
    /// A group has lost its majority.
    NoQuorum,
    /// Servers, or the shard manager, are about to start.
    Starting,
    /// An object can't be applied, or a step failed.
    ApplyFailed,
    /// The resource is paused.
    Paused,
    /// The storage class can't enlarge volumes.
    VolumesCannotGrow,
    /// Servers are being changed.
    Changing,
    /// Shards move.
    Moving,
    /// Everything is as the specification says.
    Complete,
    /// A majority of a group's replicas is gone for good.
    QuorumLost,
    /// Pods don't run.
    PodsNotRunning,
    /// Groups refuse writes, since disks are full.
    DiskFull,
    /// Groups refuse what makes their data grow, for want of memory.
    MemoryFull,
    /// Servers that were there aren't ready.
    ReplicasNotReady,
    /// No server has a problem.
    Healthy,
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
    const ALL: [ConditionType; 4] =
        [ConditionType::Valid, ConditionType::Available, ConditionType::Progressing, ConditionType::Degraded];

    /// Returns its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            ConditionType::Valid => "Valid",
            ConditionType::Available => "Available",
            ConditionType::Progressing => "Progressing",
            ConditionType::Degraded => "Degraded",
        }
    }

    /// Returns the type of a condition, if it is one of ours.
    pub(crate) fn of(condition: &Condition) -> Option<ConditionType> {
        ConditionType::ALL.into_iter().find(|type_| type_.name() == condition.type_)
    }
}

impl Reason {
    const ALL: [Reason; 18] = [
        Reason::Valid,
        Reason::Invalid,
        Reason::Unreadable,
        Reason::QuorumReady,
        Reason::NoQuorum,
        Reason::Starting,
        Reason::ApplyFailed,
        Reason::Paused,
        Reason::VolumesCannotGrow,
        Reason::Changing,
        Reason::Moving,
        Reason::Complete,
        Reason::QuorumLost,
        Reason::PodsNotRunning,
        Reason::DiskFull,
        Reason::MemoryFull,
        Reason::ReplicasNotReady,
        Reason::Healthy,
    ];

    /// Returns its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Valid => "Valid",
            Reason::Invalid => "Invalid",
            Reason::Unreadable => "Unreadable",
            Reason::QuorumReady => "QuorumReady",
            Reason::NoQuorum => "NoQuorum",
            Reason::Starting => "Starting",
            Reason::ApplyFailed => "ApplyFailed",
            Reason::Paused => "Paused",
            Reason::VolumesCannotGrow => "VolumesCannotGrow",
            Reason::Changing => "Changing",
            Reason::Moving => "Moving",
            Reason::Complete => "Complete",
            Reason::QuorumLost => "QuorumLost",
            Reason::PodsNotRunning => "PodsNotRunning",
            Reason::DiskFull => "DiskFull",
            Reason::MemoryFull => "MemoryFull",
            Reason::ReplicasNotReady => "ReplicasNotReady",
            Reason::Healthy => "Healthy",
        }
    }

    /// Returns the reason of a condition, if it is one of ours.
    pub(crate) fn of(condition: &Condition) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == condition.reason)
    }
}

impl Verdict {
    /// Returns the verdict on a resource that can't be used.
    pub fn invalid(reason: Reason, message: String) -> Verdict {
        Verdict { type_: ConditionType::Valid, holds: false, reason, message }
    }
}

/// Puts new conditions over old ones: a time changes only with its condition's status.
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
    let changed = new.iter().filter(|condition| {
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

fn is_amiss(condition: &Condition) -> bool {
    let reason = Reason::of(condition);
    match ConditionType::of(condition) {
        Some(ConditionType::Available) if reason == Some(Reason::Starting) => false,
        Some(ConditionType::Valid | ConditionType::Available) => condition.status == "False",
        Some(ConditionType::Degraded) => condition.status == "True",
        Some(ConditionType::Progressing) | None => {
            matches!(reason, Some(Reason::ApplyFailed | Reason::VolumesCannotGrow))
        }
    }
}

/// Cuts a text: Events and summaries take at most 1 kB.
pub(crate) fn shortened(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 900).last().unwrap_or(0);
    if text.len() > 1000 { format!("{}...", &text[..end]) } else { text.to_owned() }
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
    fn long_messages_are_cut_at_a_character() {
        let text = shortened(&"ä".repeat(1000));
        assert!(text.len() < 1000 && text.ends_with("..."), "{}", text.len());
        assert_eq!(shortened("short"), "short");
    }
}
