//! The silence of shard managers that are ready and don't answer the operator.

use std::collections::HashMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use skv_operator_plan::names::Names;

/// The time after which silence isn't that of a restart, or of a busy machine.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// The times since which the shard managers of resources have been silent, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<HashMap<(String, String), Timestamp>>);

impl Silences {
    /// Notes if the shard manager of a resource is silent; returns true if it has been for long.
    pub(crate) fn note(&self, names: &Names, is_silent: bool, now: Timestamp) -> bool {
        let mut silences = self.0.lock();
        if !is_silent {
            silences.remove(&key(names));
            return false;
        }
        now.duration_since(*silences.entry(key(names)).or_insert(now)) > PATIENCE
    }

    /// Forgets a resource that is gone.
    pub(crate) fn forget(&self, names: &Names) {
        self.0.lock().remove(&key(names));
    }
}

fn key(names: &Names) -> (String, String) {
    (names.namespace.clone(), names.resource.clone())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::ToSpan as _;

    use super::*;

    #[test]
    fn a_shard_manager_is_away_when_it_has_been_silent_for_long_without_a_break() {
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        let silences = Silences::default();
        let silent_at = |second: i64| silences.note(&names, true, Timestamp::UNIX_EPOCH + second.seconds());
        assert!(!silent_at(0));
        assert!(!silent_at(120));
        assert!(silent_at(121));
        assert!(!silences.note(&names, false, Timestamp::UNIX_EPOCH + 130.seconds()));
        assert!(!silent_at(140), "it answered in between");
        silences.forget(&names);
        assert!(!silent_at(300), "another resource of the name");
    }
}
