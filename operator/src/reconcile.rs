//! A pass over a resource: dereference, validate, resolve, plan, build, apply, carry out, status.

use std::sync::Arc;
use std::time::Duration;

use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Client, Resource as _, ResourceExt as _};
use skv_operator_plan::build::{Input, build};
use skv_operator_plan::names::Names;
use skv_operator_plan::resolved::Resolved;
use skv_operator_plan::rollout::{Outcome, Plan};
use skv_operator_plan::status::{self, Circumstances};
use skv_resource::{Problem, ShardedKv, validate};

use crate::apply::{Applier, Change};
use crate::cache::Cache;
use crate::claims;
use crate::dereference::dereference;
use crate::error::{Class, Error};
use crate::events;
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::rollout::{self, Actor};
use crate::servers::Servers;
use crate::time::Clock;

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
    pub(crate) clock: Clock,
}

/// Does the work that is due for one resource, and returns the time of the next look.
pub(crate) async fn reconcile(
    resource: &DeserializeGuard<ShardedKv>,
    context: &Context,
) -> Result<Action, Error> {
    let names = Names { resource: resource.name_any(), namespace: resource.namespace().unwrap_or_default() };
    if resource.meta().deletion_timestamp.is_some() {
        // Owner references and the retention of claims do all the work that is left.
        return Ok(Action::await_change());
    }
    context.cache.ready().await;
    let resource = match &resource.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            context.metrics.passed("invalid");
            if context.reporter.report_unreadable(&names, invalid, (context.clock)()).await? {
                tracing::warn!(namespace = names.namespace, name = names.resource, %invalid, "the resource can't be read");
            }
            return Ok(Action::await_change());
        }
    };
    let problems = problems(resource);
    if !problems.is_empty() {
        context.metrics.passed("invalid");
        let old = resource.status.clone().unwrap_or_default();
        let new = status::invalid(&old, &problems, resource.metadata.generation, (context.clock)());
        context.reporter.report(resource, new).await?;
        return Ok(Action::await_change());
    }
    maintain(resource, names, context).await
}

/// Returns all problems of the resource, also those against its form at creation.
fn problems(resource: &ShardedKv) -> Vec<Problem> {
    let mut problems = validate(&resource.name_any(), &resource.spec);
    let founded = resource.status.as_ref().and_then(|status| status.founded.as_ref());
    problems.extend(founded.iter().flat_map(|founded| founded.problems(&resource.spec)));
    problems
}

async fn maintain(resource: &ShardedKv, names: Names, context: &Context) -> Result<Action, Error> {
    let now = (context.clock)();
    let Context { cache, client, .. } = context;
    let (servers, spec) = (context.servers.as_ref(), &resource.spec);
    let manager_address = names.manager_address(&context.cluster_domain, spec.ports.manager);
    let seen = dereference(cache, servers, &names, spec, &manager_address, now).await;
    let resolved = Resolved::of(names, spec, &seen)?;
    let Some(mut plan) = rollout::plan(client, servers, resource, resolved, seen, now).await? else {
        // The resource has changed since it was watched; the change is on its way.
        return Ok(Action::requeue(LOOK_SOON));
    };
    let applied = if spec.paused { Ok(false) } else { apply_all(&plan, context).await };
    if applied.as_ref().is_err_and(|error| error.class() == Class::Gone) {
        return Ok(Action::await_change());
    }
    let changed = applied.as_ref().is_ok_and(|changed| *changed);
    if changed {
        // It was decided before the change: the shard manager, say, isn't rolled out any more.
        plan.decision.step = None;
    }
    let mut resource = plan.resource.clone();
    let names = &plan.resolved.names;
    let actor = Actor { client, servers, names, manager_address: &manager_address };
    let (outcome, result) = match applied {
        Ok(_) => rollout::carry_out(&plan, &actor, &mut resource).await,
        Err(error) => (Outcome::default(), Err(error)),
    };
    tell(&resource, names, &outcome, context).await;
    let failure = result.as_ref().err().map(Error::to_string);
    let circumstances =
        Circumstances { seen: &plan.seen, outcome: &outcome, changed, failure: failure.as_deref() };
    let old = resource.status.clone().unwrap_or_default();
    let generation = resource.metadata.generation;
    let new = status::observed(&plan.resolved, &old, &circumstances, generation, now);
    let reported = context.reporter.report(&resource, new).await;
    result?;
    reported?;
    context.metrics.passed("done");
    let moving = !spec.paused && plan.seen.assignment().is_some_and(|assignment| assignment.moving() > 0);
    let soon = changed || moving || outcome.is_under_way();
    Ok(Action::requeue(if soon { LOOK_SOON } else { LOOK_AGAIN }))
}

/// Brings all objects into their form; returns true if any had another.
async fn apply_all(plan: &Plan, context: &Context) -> Result<bool, Error> {
    let Plan { resource, resolved, .. } = plan;
    let desired = build(&Input {
        resolved: resolved.clone(),
        // A resource that was read from the API server has a name and a uid.
        owner: resource.controller_owner_ref(&()).unwrap_or_default(),
        existing: plan.existing(),
        cluster_domain: context.cluster_domain.clone(),
        operator_namespace: context.own_namespace.clone(),
    })?;
    let names = &resolved.names;
    // An object that can't be applied mustn't keep the others from being applied.
    let (mut failed, mut changed) = (None, false);
    for object in &desired {
        let change = match context.applier.apply(names, object, &context.cache).await {
            Ok(change) => change,
            Err(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        if change != Change::None {
            changed = true;
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
    for title in context.applier.delete_obsolete(names, &desired, &context.cache).await? {
        tracing::info!(namespace = names.namespace, object = title, "deleted: it was switched off");
    }
    for (claim, annotations) in &plan.seen.to_annotate {
        match claims::annotate(&context.client, names, claim, annotations).await {
            Ok(()) => context.metrics.wrote("PersistentVolumeClaim"),
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    failed.map_or(Ok(changed), Err)
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
