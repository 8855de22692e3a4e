//! The number of pods of a group, of the ring, or of the shard manager that may be evicted at once.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::input::Input;
use crate::names::{Component, ServerSet, selector};

/// Allows one eviction at a time, and only while all other pods are there. A single server has no budget:
/// it would forbid every drain for ever. A group that has ended has none either.
pub(super) fn of_servers(input: &Input, set: ServerSet) -> Option<PodDisruptionBudget> {
    let name = input.resolved.names.servers_of(set);
    // A pod that isn't ready may hold the only other copy of acknowledged data.
    budget(input, name, Component::Servers(set), input.replicas(set), "IfHealthyBudget")
}

/// Allows one eviction of a shard manager at a time. One that isn't ready holds nothing that another
/// hasn't.
pub(super) fn of_shard_managers(input: &Input) -> Option<PodDisruptionBudget> {
    let (name, replicas) = (input.resolved.names.shard_manager(), input.resolved.spec.shard_manager.replicas);
    budget(input, name, Component::ShardManager, replicas, "AlwaysAllow")
}

fn budget(
    input: &Input,
    name: String,
    component: Component,
    replicas: u32,
    unhealthy: &str,
) -> Option<PodDisruptionBudget> {
    if !input.resolved.spec.disruption_budget.enabled || replicas <= 1 {
        return None;
    }
    let labels = input.resolved.names.pod_labels(component);
    Some(PodDisruptionBudget {
        metadata: input.owned(name, labels.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(labels)),
            unhealthy_pod_eviction_policy: Some(unhealthy.to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
