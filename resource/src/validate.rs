//! Which specifications make sense.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use crate::{Metadata, Placement, ShardedKv};

/// A field that can't be as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `spec.replicas`.
    pub path: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Names of servers, such as NAME-g0-0, must stay labels of DNS with room to spare.
const MAX_NAME: usize = 40;

impl ShardedKv {
    /// All that is wrong; empty if nothing is.
    pub fn validate(&self) -> Vec<Problem> {
        let mut check = Check::default();
        let spec = &self.spec;
        check_name(&mut check, &self.metadata);

        check.range("spec.replicas", spec.replicas, 1..=7);
        if spec.replicas.is_multiple_of(2) && spec.replicas > 0 {
            let fewer = spec.replicas - 1;
            check.fails(
                "spec.replicas",
                format!("{} tolerates no more failures than {fewer}: choose an odd number", spec.replicas),
            );
        }
        check.range("spec.shards", spec.shards, 1..=10_000);
        if spec.groups == 0 {
            check.fails("spec.groups", "0 is out of range: at least 1".to_owned());
        }
        if spec.groups > spec.shards {
            let reason =
                format!("{} groups can't share {} shards: each needs at least one", spec.groups, spec.shards);
            check.fails("spec.groups", reason);
        }
        if spec.placement == Placement::Ring {
            check.fails("spec.placement", "ring is not available yet: use groups".to_owned());
        }
        if let Some(threads) = spec.server.worker_threads {
            check.range("spec.server.workerThreads", threads, 1..=1024);
        }

        let limits = &spec.limits;
        check.range("spec.limits.maxKeyBytes", limits.max_key_bytes, 1..=65_536);
        check.range("spec.limits.maxValueBytes", limits.max_value_bytes, 1..=2 << 20);
        check.range("spec.limits.maxSessionsPerShard", limits.max_sessions_per_shard, 1..=1_000_000);
        check.range("spec.limits.sessionTtlSeconds", limits.session_ttl_seconds, 10..=86_400);

        let tuning = &spec.tuning;
        check.range("spec.tuning.heartbeatMs", tuning.heartbeat_ms, 10..=10_000);
        check.range("spec.tuning.electionTimeoutMs", tuning.election_timeout_ms, 50..=60_000);
        check.range("spec.tuning.snapshotLogBytes", tuning.snapshot_log_bytes, 1024..=u64::MAX);
        let three_heartbeats = tuning.heartbeat_ms.saturating_mul(3);
        if tuning.election_timeout_ms < three_heartbeats {
            let reason = format!(
                "{} is less than three heartbeats of {} ms: at least {three_heartbeats}",
                tuning.election_timeout_ms, tuning.heartbeat_ms
            );
            check.fails("spec.tuning.electionTimeoutMs", reason);
        }
        check.problems
    }
}

fn check_name(check: &mut Check, metadata: &Metadata) {
    let name = &metadata.name;
    let is_label = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_label || name.len() > MAX_NAME {
        check.fails(
            "metadata.name",
            format!(
                "{name:?} must consist of at most {MAX_NAME} lower case letters, digits and '-', \
                 begin with a letter and not end with '-'"
            ),
        );
    }
}

#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn fails(&mut self, path: &str, reason: String) {
        self.problems.push(Problem { path: path.to_owned(), reason });
    }

    fn range<T: Copy + PartialOrd + Display>(&mut self, path: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            self.fails(path, format!("{value} is out of range: {} to {}", range.start(), range.end()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShardedKvSpec;

    fn problems(change: impl FnOnce(&mut ShardedKv)) -> Vec<String> {
        let metadata = Metadata { name: "quickstart".to_owned(), ..Metadata::default() };
        let mut resource = ShardedKv { metadata, spec: ShardedKvSpec::default() };
        change(&mut resource);
        resource.validate().iter().map(|problem| problem.path.clone()).collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(problems(|_| {}).is_empty());
    }

    #[test]
    fn each_wrong_field_is_named() {
        let one = |path: &str, change: fn(&mut ShardedKvSpec)| {
            assert_eq!(problems(|resource| change(&mut resource.spec)), [path]);
        };
        one("spec.groups", |spec| spec.groups = 0);
        one("spec.groups", |spec| spec.groups = 241);
        one("spec.replicas", |spec| spec.replicas = 0);
        one("spec.replicas", |spec| spec.replicas = 2);
        one("spec.replicas", |spec| spec.replicas = 9);
        one("spec.shards", |spec| spec.shards = 10_001);
        one("spec.placement", |spec| spec.placement = Placement::Ring);
        one("spec.server.workerThreads", |spec| spec.server.worker_threads = Some(0));
        one("spec.limits.maxKeyBytes", |spec| spec.limits.max_key_bytes = 0);
        one("spec.limits.maxValueBytes", |spec| spec.limits.max_value_bytes = 3 << 20);
        one("spec.limits.maxSessionsPerShard", |spec| spec.limits.max_sessions_per_shard = 0);
        one("spec.limits.sessionTtlSeconds", |spec| spec.limits.session_ttl_seconds = 9);
        one("spec.tuning.heartbeatMs", |spec| spec.tuning.heartbeat_ms = 0);
        one("spec.tuning.electionTimeoutMs", |spec| spec.tuning.election_timeout_ms = 149);
        one("spec.tuning.snapshotLogBytes", |spec| spec.tuning.snapshot_log_bytes = 10);
    }

    #[test]
    fn a_name_must_fit_into_dns() {
        for name in ["", "-a", "a-", "1a", "A", "a.b", "a_b", "ä", &"a".repeat(41)] {
            assert_eq!(
                problems(|resource| resource.metadata.name = name.to_owned()),
                ["metadata.name"],
                "{name}"
            );
        }
        for name in ["a", "a1", "a-b", &"a".repeat(40)] {
            assert!(problems(|resource| resource.metadata.name = name.to_owned()).is_empty(), "{name}");
        }
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let found = problems(|resource| {
            resource.spec.replicas = 4;
            resource.spec.shards = 0;
        });
        assert_eq!(found, ["spec.replicas", "spec.shards", "spec.groups"]);
    }
}
