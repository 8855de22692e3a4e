//! The fields that can't change once a resource exists.
//!
//! The API server holds these rules too. They are checked once more against the record that was made when
//! the resource was first seen, in case a change got past it.

use crate::spec::{Placement, ShardedKvSpec};
use crate::status::Founded;
use crate::validate::Problem;

impl From<&ShardedKvSpec> for Founded {
    fn from(spec: &ShardedKvSpec) -> Founded {
        Founded {
            shards: spec.shards,
            hash: spec.hash,
            policy: spec.policy,
            placement: spec.placement,
            ring_replicas: (spec.placement == Placement::Ring).then_some(spec.replicas),
            limits: spec.limits.clone(),
            memory_only: spec.storage.memory_only,
            storage_class_name: spec.storage.class_name.clone(),
        }
    }
}

impl Founded {
    /// Returns a problem for each field that differs from its value at the founding.
    pub fn problems(&self, spec: &ShardedKvSpec) -> Vec<Problem> {
        let wanted = Founded::from(spec);
        // If the placement itself differs, that is the problem.
        let rings = self.ring_replicas.zip(wanted.ring_replicas);
        let replicas = rings.map_or_else(String::new, |(was, _)| was.to_string());
        let class =
            |name: &Option<String>| name.clone().unwrap_or_else(|| "the cluster's default".to_owned());
        let compared = [
            ("spec.shards", self.shards == wanted.shards, self.shards.to_string()),
            ("spec.hash", self.hash == wanted.hash, self.hash.to_string()),
            ("spec.policy", self.policy == wanted.policy, self.policy.to_string()),
            ("spec.placement", self.placement == wanted.placement, self.placement.to_string()),
            ("spec.replicas", rings.is_none_or(|(was, wanted)| was == wanted), replicas),
            ("spec.limits", self.limits == wanted.limits, format!("{:?}", self.limits)),
            ("spec.storage.memoryOnly", self.memory_only == wanted.memory_only, self.memory_only.to_string()),
            (
                "spec.storage.className",
                self.storage_class_name == wanted.storage_class_name,
                class(&self.storage_class_name),
            ),
        ];
        let differing = compared.into_iter().filter(|(_, equal, _)| !equal);
        differing
            .map(|(path, _, was)| Problem {
                path: path.to_owned(),
                reason: format!("is fixed for the life of the resource: set it back to {was}"),
            })
            .collect()
    }
}
