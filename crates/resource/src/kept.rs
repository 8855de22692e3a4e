//! The form of a store whose `ShardMap` was kept when its resource was deleted. A resource of the same name finds
//! the data again, and must have the same form.

use serde::Deserialize;
use serde_json::Value;
use skv_sharding::{Hash, Policy, ShardSet};

use crate::spec::ShardedKvSpec;
use crate::validate::Problem;

/// The parts of a shard manager's record that can't change.
#[derive(Debug, Deserialize)]
pub struct Kept {
    hash: Hash,
    #[serde(default)]
    policy: Policy,
    limits: skv_sharding::Limits,
    owners: Vec<Owned>,
}

#[derive(Debug, Deserialize)]
struct Owned {
    shards: ShardSet,
}

impl Kept {
    /// Reads a record; `None` if it is none, or of an unknown form.
    pub fn of(record: &Value) -> Option<Kept> {
        Kept::deserialize(record).ok()
    }

    /// Returns a problem for each field of a new resource that the kept store has otherwise.
    pub fn problems(&self, spec: &ShardedKvSpec) -> Vec<Problem> {
        let shards: usize = self.owners.iter().map(|owned| owned.shards.len()).sum();
        let skv_sharding::Limits { max_key_bytes, max_value_bytes, max_sessions_per_shard, session_ttl_ms } =
            self.limits;
        let wanted = &spec.limits;
        let compared = [
            ("spec.shards", spec.shards.to_string(), shards.to_string()),
            ("spec.hash", spec.hash.to_string(), self.hash.to_string()),
            ("spec.policy", spec.policy.to_string(), self.policy.to_string()),
            ("spec.limits.maxKeyBytes", wanted.max_key_bytes.to_string(), max_key_bytes.to_string()),
            ("spec.limits.maxValueBytes", wanted.max_value_bytes.to_string(), max_value_bytes.to_string()),
            (
                "spec.limits.maxSessionsPerShard",
                wanted.max_sessions_per_shard.to_string(),
                max_sessions_per_shard.to_string(),
            ),
            (
                "spec.limits.sessionTtlSeconds",
                wanted.session_ttl_seconds.to_string(),
                (session_ttl_ms / 1000).to_string(),
            ),
        ];
        let differing = compared.into_iter().filter(|(_, wanted, kept)| wanted != kept);
        differing
            .map(|(path, _, kept)| Problem {
                path: path.to_owned(),
                reason: format!(
                    "the ShardMap of this name was kept with its data, and has {kept}: set that, or delete the \
                     ShardMap and the volumes"
                ),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_must_have_the_form_of_the_store_that_was_kept() {
        let record = json!({
            "cluster": "0000000000000007", "revision": 4, "hash": "fnv1a",
            "limits": {
                "max_key_bytes": 4096, "max_value_bytes": 1_048_576,
                "max_sessions_per_shard": 16_384, "session_ttl_ms": 600_000,
            },
            "owners": [{ "group": 0, "epoch": 1, "shards": [] }],
        });
        let with = |shards: &ShardSet, spec: &ShardedKvSpec| {
            let mut record = record.clone();
            record["owners"][0]["shards"] = serde_json::to_value(shards).unwrap();
            let problems = Kept::of(&record).unwrap().problems(spec);
            problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        let twelve: ShardSet = (0..12).map(skv_sharding::ShardId).collect();
        let same = ShardedKvSpec { shards: 12, hash: Hash::Fnv1a, ..ShardedKvSpec::default() };
        assert_eq!(with(&twelve, &same), [""; 0]);
        let other = ShardedKvSpec { policy: Policy::Modulo, ..ShardedKvSpec::default() };
        assert_eq!(with(&twelve, &other), ["spec.shards", "spec.hash", "spec.policy"]);
        let mut limits = same.clone();
        limits.limits.max_key_bytes = 99;
        assert_eq!(with(&twelve, &limits), ["spec.limits.maxKeyBytes"]);
        assert!(Kept::of(&json!({ "revision": 1 })).is_none());
    }
}
