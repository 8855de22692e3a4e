//! The judge of replacements: a volume is given up only for a server that is on record, and within an hour no
//! more servers get on record than the budget allows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::api::Caller;
use super::world::World;

/// The seconds that the budget is for.
const HOUR: i64 = 3600;
/// The seconds from the beginning of a pass, which is the time that it records, to the record.
const DELAY: i64 = 120;

/// The servers that are on record.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// The server, and the time at which it got on record, by the uid of the pod that was to go.
    by_pod: BTreeMap<String, (String, i64)>,
}

impl Recorded {
    /// Returns true if a server ever got on record.
    pub(super) fn has(&self, server: &str) -> bool {
        self.by_pod.values().any(|(on_record, _)| on_record == server)
    }

    /// Notes that a server is on record; returns the number that got there within the last hour, if this one is
    /// new.
    fn note(&mut self, server: &str, pod: &str, now: i64) -> Option<usize> {
        if self.by_pod.contains_key(pod) {
            return None;
        }
        self.by_pod.insert(pod.to_owned(), (server.to_owned(), now));
        Some(self.by_pod.values().filter(|(_, at)| now - at < HOUR - DELAY).count())
    }
}

impl World {
    /// Judges the replacements that a status has on record.
    pub(super) fn judge_record(&mut self, caller: Caller, status: &Value) {
        let Caller::Operator(_) = caller else { return };
        let most = self.spec()["replacement"]["maxPerHour"].as_u64().unwrap_or(u64::MAX);
        for replaced in status["replaced"].as_array().into_iter().flatten() {
            let (Some(server), Some(pod)) = (replaced["server"].as_str(), replaced["uid"].as_str()) else {
                continue;
            };
            let within_hour = self.judge.recorded.note(server, pod, self.now);
            if let Some(count) = within_hour.filter(|count| *count as u64 > most) {
                self.judge.findings.push(format!("{server} is number {count} within an hour, of {most}"));
            }
        }
    }
}
