//! The number of pods of a group, or of the ring, that may be evicted at once.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::input::Input;
use crate::names::{Component, ServerSet, selector};

/// Allows one eviction at a time, and only while all other pods are there. A single server has no budget:
/// it would forbid every drain for ever. A group that has ended has none either.
pub(super) fn disruption_budget(input: &Input, set: ServerSet) -> Option<PodDisruptionBudget> {
    if !input.resolved.spec.disruption_budget.enabled || input.replicas(set) <= 1 {
        return None;
    }
    let labels = input.resolved.names.pod_labels(Component::Servers(set));
    Some(PodDisruptionBudget {
        metadata: input.owned(input.resolved.names.servers_of(set), labels.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(labels)),
            // A pod that isn't ready may hold the only other copy of acknowledged data.
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
