//! The conditions for programs that wait, such as Flux, Helm and `kubectl wait`: Ready, Reconciling and
//! Stalled, as kstatus defines them. They follow from the conditions for people, and say nothing new.

use crate::condition::{ConditionType, Reason, Verdict};

/// Returns the conditions for programs. At most one of them is true.
pub(crate) fn for_programs(said: &[Verdict]) -> [Verdict; 3] {
    let find = |type_, holds| said.iter().find(|verdict| verdict.type_ == type_ && verdict.holds == holds);
    let stalled = said.iter().find(|verdict| needs_a_person(verdict));
    let progressing = find(ConditionType::Progressing, true);
    // Paused, for example.
    let is_unfinished = |verdict: &&Verdict| {
        verdict.type_ == ConditionType::Progressing && verdict.reason != Reason::Complete
    };
    let unready = stalled
        .or_else(|| find(ConditionType::Degraded, true))
        .or(progressing)
        .or_else(|| find(ConditionType::Available, false))
        .or_else(|| said.iter().find(is_unfinished));
    let repeated = |type_, holds, verdict: &Verdict| Verdict { type_, holds, ..verdict.clone() };
    let settled = |type_, holds, reason, message: &str| {
        let message = message.to_owned();
        Verdict { type_, holds, reason, message }
    };
    let complete = "Everything is as the specification says";
    let ready = match unready {
        Some(verdict) => repeated(ConditionType::Ready, false, verdict),
        None => settled(ConditionType::Ready, true, Reason::Complete, complete),
    };
    let reconciling = match stalled.or(progressing).or_else(|| said.iter().find(is_unfinished)) {
        Some(verdict) => {
            let goes_on = stalled.is_none() && progressing.is_some();
            repeated(ConditionType::Reconciling, goes_on, verdict)
        }
        None => settled(ConditionType::Reconciling, false, Reason::Complete, complete),
    };
    let stalled = match stalled {
        Some(verdict) => repeated(ConditionType::Stalled, true, verdict),
        None => settled(ConditionType::Stalled, false, Reason::Unhindered, "Nothing waits for a person"),
    };
    [ready, reconciling, stalled]
}

/// Returns true if the operator can do no more before a person does something.
fn needs_a_person(verdict: &Verdict) -> bool {
    match verdict.type_ {
        ConditionType::Valid => !verdict.holds,
        ConditionType::Progressing => {
            matches!(verdict.reason, Reason::ApplyFailed | Reason::VolumesCannotGrow)
        }
        ConditionType::Degraded => {
            matches!(verdict.reason, Reason::QuorumLost | Reason::PodsForbidden | Reason::ReplicaRefuses)
        }
        ConditionType::Available
        | ConditionType::Spread
        | ConditionType::Ready
        | ConditionType::Reconciling
        | ConditionType::Stalled => false,
    }
}
