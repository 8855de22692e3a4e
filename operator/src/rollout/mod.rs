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

use crate::accepted::Accepted;
use crate::error::Error;
use crate::servers::Servers;
use crate::unread::Unread;

/// The work that is due, and the sight on which it rests.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The fields that can't be read, of the status of the plan's resource.
    pub(crate) unread: Unread,
    /// The failure of a live look that was due: then the plan has no steps.
    pub(crate) look: Result<(), Error>,
}

/// Decides on the work that is due, by a live look if there is reason for one. Returns `None` if the resource has
/// changed meanwhile, or is gone.
pub(crate) async fn plan(
    client: &Client,
    servers: &dyn Servers,
    accepted: &Accepted,
    resolved: Resolved,
    seen: Observed,
    now: Timestamp,
) -> Option<Planned> {
    let Accepted { resource, unread, .. } = accepted;
    let of_cache = |resolved: Resolved, seen: Observed, look: Result<(), Error>| Planned {
        plan: Plan::of_cache(resource, resolved, seen),
        unread: unread.clone(),
        look,
    };
    if !needs_look(resource, &resolved, &seen) {
        return Some(of_cache(resolved, seen, Ok(())));
    }
    let look = match Box::pin(look::look(client, servers, &resolved.names, now)).await {
        Ok(look) => look,
        Err(error) => return Some(of_cache(resolved, seen, Err(error))),
    };
    let is_same = |looked_at: &ShardedKv| {
        looked_at.metadata.generation == resource.metadata.generation
            && looked_at.metadata.uid == resource.metadata.uid
    };
    let (look, unread) = look.filter(|(look, _)| is_same(&look.resource))?;
    Some(Planned { plan: Plan::of_look(look, resolved, seen), unread, look: Ok(()) })
}

#[cfg(test)]
mod tests;
