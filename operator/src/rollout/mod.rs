//! Looks at running groups, and takes the steps that `skv-operator-plan` decides on: pods that must be
//! replaced, groups that get fewer members, groups that come and go, volumes that grow.
//!
//! - `look`: reads the objects live, and asks the servers
//! - `act`: records a step, and takes it
//! - `carry_out`: takes all steps of a plan

mod act;
mod carry_out;
mod look;

pub(crate) use act::Actor;
pub(crate) use carry_out::carry_out;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use skv_operator_plan::observed::Observed;
use skv_operator_plan::resolved::Resolved;
use skv_operator_plan::rollout::{Plan, needs_look};
use skv_resource::ShardedKv;

use crate::error::Error;
use crate::servers::Servers;

/// Decides on the work that is due, by a live look if there is reason for one. Returns `None` if the
/// resource has changed meanwhile, or is gone.
pub(crate) async fn plan(
    client: &Client,
    servers: &dyn Servers,
    resource: &ShardedKv,
    resolved: Resolved,
    seen: Observed,
    now: Timestamp,
) -> Result<Option<Plan>, Error> {
    if !needs_look(resource, &resolved, &seen) {
        return Ok(Some(Plan::of_cache(resource, resolved, seen)));
    }
    let look = look::look(client, servers, &resolved.names, now).await?;
    let is_same = |looked_at: &ShardedKv| {
        looked_at.metadata.generation == resource.metadata.generation
            && looked_at.metadata.uid == resource.metadata.uid
    };
    let look = look.filter(|look| is_same(&look.resource));
    Ok(look.map(|look| Plan::of_look(look, resolved, seen)))
}
