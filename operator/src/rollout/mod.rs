//! Looks at running groups, and takes the steps that `skv-operator-plan` decides on: pods that must be
//! replaced, groups that get fewer members, groups that come and go, volumes that grow.
//!
//! - `look`: reads the objects live, and asks the servers; `losses`: reads the nodes and volumes of those
//!   that may be gone for good
//! - `act`: records a step, and takes it
//! - `carry_out`: takes all steps of a plan

mod act;
mod carry_out;
mod look;
mod losses;

pub(crate) use act::Actor;
pub(crate) use carry_out::carry_out;
pub(crate) use look::status;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use skv_operator_plan::observed::Observed;
use skv_operator_plan::resolved::Resolved;
use skv_operator_plan::rollout::{Plan, needs_look};
use skv_resource::ShardedKv;

use crate::error::Error;
use crate::servers::Servers;

/// Decides on the work that is due, by a live look if there is reason for one. If that fails, the plan has no
/// steps, and the failure is beside it. Returns `None` if the resource has changed meanwhile, or is gone.
pub(crate) async fn plan(
    client: &Client,
    servers: &dyn Servers,
    resource: &ShardedKv,
    resolved: Resolved,
    seen: Observed,
    now: Timestamp,
) -> Option<(Plan, Result<(), Error>)> {
    if !needs_look(resource, &resolved, &seen) {
        return Some((Plan::of_cache(resource, resolved, seen), Ok(())));
    }
    let look = match Box::pin(look::look(client, servers, &resolved.names, now)).await {
        Ok(look) => look,
        Err(error) => return Some((Plan::of_cache(resource, resolved, seen), Err(error))),
    };
    let is_same = |looked_at: &ShardedKv| {
        looked_at.metadata.generation == resource.metadata.generation
            && looked_at.metadata.uid == resource.metadata.uid
    };
    let look = look.filter(|look| is_same(&look.resource))?;
    Some((Plan::of_look(look, resolved, seen), Ok(())))
}

#[cfg(test)]
mod tests;
