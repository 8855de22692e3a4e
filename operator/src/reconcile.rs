//! A pass over a resource: dereference, validate, resolve, plan, build, apply, carry out, status.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::Value;
use skv_operator_plan::build::{Input, Users, build};
use skv_operator_plan::image::with_image;
use skv_operator_plan::names::Names;
use skv_operator_plan::observed::Observed;
use skv_operator_plan::record::Record;
use skv_operator_plan::resolved::Resolved;
use skv_operator_plan::rollout::{Outcome, Plan};
use skv_operator_plan::status::{self, Circumstances, Failure};
use skv_resource::{Kept, ShardMap, ShardedKv};

use crate::accepted::{Accepted, accept};
use crate::ailing::explained;
use crate::apply::{Applier, Change};
use crate::cache::Cache;
use crate::claims;
use crate::cordons::Cordons;
use crate::dereference::dereference;
use crate::error::{Class, Error};
use crate::events;
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::rollout::{self, Actor, Planned};
use crate::servers::Servers;
use crate::silence::Silences;
use crate::time::Clock;
use crate::unchanged::State;

/// The pause before the next look at a steady resource: leaders change without a trace in the API server.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The pause while work is under way: servers catch up without a trace in the API server too.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// Everything that a pass needs beside the resource.
pub(crate) struct Context {
    pub(crate) cache: Cache,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) client: Client,
    pub(crate) servers: Arc<dyn Servers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cluster_domain: String,
    pub(crate) own_namespace: String,
    pub(crate) users: Users,
    pub(crate) image: String,
    pub(crate) cordons: Cordons,
    pub(crate) silences: Silences,
    pub(crate) clock: Clock,
}

/// Does the work that is due for one resource after this number of failures in a row, and returns the time of the
/// next look.
pub(crate) async fn reconcile(
    object: &DynamicObject,
    failures: u32,
    context: &Context,
) -> Result<Action, Error> {
    let names = Names { resource: object.name_any(), namespace: object.namespace().unwrap_or_default() };
    if object.metadata.deletion_timestamp.is_some() {
        // Owner references and the retention of claims do all the work that is left.
        return Ok(Action::await_change());
    }
    context.cache.ready().await;
    match accept(object, || kept(&names, &context.cache)) {
        Ok(accepted) => Box::pin(maintain(&accepted, names, failures, context)).await,
        Err(verdict) => {
            context.metrics.passed("invalid");
            if context.reporter.report_refused(object, verdict, (context.clock)()).await? {
                tracing::warn!(
                    namespace = names.namespace,
                    name = names.resource,
                    "the resource can't be used"
                );
            }
            Ok(Action::await_change())
        }
    }
}

/// Returns true if a shard manager that is ready, and has a map, doesn't answer.
fn is_silent(resource: &ShardedKv, seen: &Observed) -> bool {
    has_map(resource) && seen.ready_managers > 0 && seen.map.is_none()
}

/// Returns true if nothing shows that a store has a configuration: no shard manager, no earlier pass, and no
/// record of an earlier store.
fn is_new(resource: &ShardedKv, seen: &Observed, names: &Names, cache: &Cache) -> bool {
    seen.map.is_none() && !has_map(resource) && kept(names, cache).is_none()
}

/// Returns true if the shard manager of a resource was seen to have a map.
fn has_map(resource: &ShardedKv) -> bool {
    resource.status.as_ref().is_some_and(|status| status.cluster.is_some())
}

/// Returns the form of the store of an earlier resource of this name.
fn kept(names: &Names, cache: &Cache) -> Option<Kept> {
    Kept::of(&record(names, cache)?)
}

/// Returns the record of a resource's shard manager, or of that of an earlier one of this name.
fn record(names: &Names, cache: &Cache) -> Option<Value> {
    cache.of::<ShardMap>(names).into_iter().next()?.spec.record
}

async fn maintain(
    accepted: &Accepted,
    names: Names,
    failures: u32,
    context: &Context,
) -> Result<Action, Error> {
    let Accepted { resource, validity, .. } = accepted;
    let now = (context.clock)();
    let Context { cache, client, .. } = context;
    let (servers, spec) = (context.servers.as_ref(), &resource.spec);
    let manager_address = names.manager_address(&context.cluster_domain, spec.ports.manager);
    let seen = dereference(cache, servers, &names, spec, &manager_address, now).await;
    let mut seen = explained(seen, client, servers, &names, now).await;
    seen.cordoned = context.cordons.names();
    seen.zones = context.cordons.zones(seen.nodes());
    seen.managers_away |= context.silences.note(&names, is_silent(resource, &seen), now);
    seen.is_new = is_new(resource, &seen, &names, cache);
    let resolved = Resolved::of(names, &with_image(spec, &seen, &context.image), &seen)?;
    let plan = Box::pin(rollout::plan(client, servers, accepted, resolved, seen, now));
    let Some(Planned { mut plan, unread, look }) = plan.await else {
        // The resource has changed since it was watched; the change is on its way.
        return Ok(Action::requeue(LOOK_SOON));
    };
    let looked = look.is_ok();
    let applied = match look {
        // The next try is due in a second: nobody need be told of a failure that it makes good.
        Err(error) if failures == 0 && error.class() == Class::Passing => return Err(error),
        // Which groups there should be isn't known. What is known is reported, with the failure.
        Err(error) => Applied { failure: Some(error), ..Applied::default() },
        Ok(()) if spec.paused => Applied::default(),
        Ok(()) => apply_all(&plan, context).await,
    };
    let Applied { changed, is_lacking, failure } = applied;
    if failure.as_ref().is_some_and(|error| error.class() == Class::Gone) {
        return Ok(Action::await_change());
    }
    if changed {
        // It was decided before the change: the shard manager, say, isn't rolled out any more.
        plan.decision.step = None;
    }
    if is_lacking {
        plan.hold_changes();
    }
    let is_held = unread.hold(&mut plan);
    let mut resource = plan.resource.clone();
    let names = &plan.resolved.names;
    let actor = Actor { client, servers, names, manager_address: &manager_address, unread: &unread };
    let (outcome, taken) = rollout::carry_out(&plan, &actor, &mut resource).await;
    let result = failure.map_or(taken, Err);
    tell(&resource, names, &outcome, context).await;
    let failure = result.as_ref().err().map(|error| (error.class(), error.to_string()));
    let failure = failure.as_ref().map(|(class, message)| match class {
        Class::Passing => Failure::Passing(message),
        Class::Lasting | Class::Gone => Failure::Lasting(message),
    });
    let circumstances =
        Circumstances { validity, seen: &plan.seen, outcome: &outcome, changed, looked, failure };
    let old = resource.status.clone().unwrap_or_default();
    let generation = resource.metadata.generation;
    let new = status::observed(&plan.resolved, &old, &circumstances, generation, now);
    let reported = context.reporter.report(&resource, &unread, new).await;
    result?;
    reported?;
    context.metrics.passed(if validity.holds() { "done" } else { "invalid" });
    let moving = !spec.paused && plan.seen.assignment().is_some_and(|assignment| assignment.moving() > 0);
    let soon = changed || moving || outcome.is_under_way() && !(is_held && outcome.turnover.is_empty());
    Ok(Action::requeue(if soon { LOOK_SOON } else { LOOK_AGAIN }))
}

/// The result of bringing all objects into their form.
#[derive(Debug, Default)]
struct Applied {
    /// True if any object had another form.
    changed: bool,
    /// True if an object that pods depend on couldn't be applied.
    is_lacking: bool,
    /// The first failure. It keeps neither other objects from being applied nor servers from being cared for.
    failure: Option<Error>,
}

/// Returns the owner of a resource's objects. Where the resource is deleted in the foreground, it is gone only when
/// they are.
fn owner(resource: &ShardedKv) -> OwnerReference {
    // A resource that was read from the API server has a name and a uid.
    let owner = resource.controller_owner_ref(&()).unwrap_or_default();
    OwnerReference { block_owner_deletion: Some(true), ..owner }
}

/// Brings all objects into their form.
async fn apply_all(plan: &Plan, context: &Context) -> Applied {
    let Plan { resource, resolved, .. } = plan;
    let input = Input {
        resolved: resolved.clone(),
        owner: owner(resource),
        existing: plan.existing(|| Record::of(&record(&resolved.names, &context.cache)?)),
        cluster_domain: context.cluster_domain.clone(),
        operator_namespace: context.own_namespace.clone(),
        users: context.users,
    };
    let state = State::seen(input, &context.cache);
    let unchanged = &context.applier.unchanged;
    let mut applied = if unchanged.is(&state) {
        Applied::default()
    } else {
        let applied = apply_built(resource, &state.input, context).await;
        if !applied.changed && applied.failure.is_none() && state.holds(&context.cache) {
            unchanged.remember(state);
        }
        applied
    };
    for (claim, annotations) in &plan.seen.to_annotate {
        match claims::annotate(&context.client, &resolved.names, claim, annotations).await {
            Ok(()) => context.metrics.wrote("PersistentVolumeClaim"),
            Err(error) => {
                applied.failure.get_or_insert(error);
            }
        }
    }
    applied
}

/// Builds all objects, and brings those into their form that have another.
async fn apply_built(resource: &ShardedKv, input: &Input, context: &Context) -> Applied {
    let mut applied = Applied::default();
    let desired = match build(input) {
        Ok(desired) => desired,
        Err(error) => return Applied { is_lacking: true, failure: Some(error.into()), ..applied },
    };
    let names = &input.resolved.names;
    for object in &desired {
        let change = match context.applier.apply(names, object, &context.cache).await {
            Ok(change) => change,
            Err(error) => {
                applied.is_lacking |= !object.is_entrance();
                applied.failure.get_or_insert(error);
                continue;
            }
        };
        if change != Change::None {
            applied.changed = true;
            context.metrics.wrote(&object.resource.kind);
        }
        if change == Change::Created {
            let (namespace, kind, name) = (&object.namespace, &object.resource.kind, &object.name);
            tracing::info!(namespace, kind, name, "created");
            if let Some(event) = events::of_creation(resource, object) {
                context.reporter.publish(&event, &resource.object_ref(&())).await;
            }
        }
    }
    let deleted = match context.applier.delete_obsolete(names, &desired, &context.cache).await {
        Ok(deleted) => deleted,
        Err(error) => {
            applied.failure.get_or_insert(error);
            Vec::new()
        }
    };
    for title in deleted {
        context.metrics.wrote(title.split(' ').next().unwrap_or_default());
        tracing::info!(namespace = names.namespace, object = title, "deleted: it was switched off");
    }
    applied
}

/// Logs and publishes the steps that were taken.
async fn tell(resource: &ShardedKv, names: &Names, outcome: &Outcome, context: &Context) {
    let of_step = outcome.step.iter().map(|step| events::of_step(resource, step));
    let of_groups = outcome.group_steps.iter().map(|step| events::of_group_step(resource, names, step));
    for event in of_step.chain(of_groups) {
        tracing::info!(
            namespace = resource.namespace(),
            name = resource.name_any(),
            note = event.note,
            "took a step"
        );
        context.reporter.publish(&event, &resource.object_ref(&())).await;
    }
}

#[cfg(test)]
mod tests;
