//! How many pods of a group may be evicted at once.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skv_sharding::GroupId;

use super::Input;
use crate::names::{Component, selector};

/// One at a time, and only while all others are there. A group of one replica has no
/// budget: it would forbid every drain for ever. Nor has one that is no more.
pub(super) fn disruption_budget(input: &Input, group: GroupId) -> Option<PodDisruptionBudget> {
    if !input.spec.disruption_budget.enabled || input.replicas(group) <= 1 {
        return None;
    }
    let labels = input.names.pod_labels(Component::Group(group));
    Some(PodDisruptionBudget {
        metadata: input.owned(input.names.group(group), labels.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(labels)),
            // A pod that isn't ready may hold the only other copy of what was acknowledged.
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
