//! One pass over one resource: dereference, validate, build, apply, status.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Client, Resource as _, ResourceExt as _};
use skv_resource::{Problem, ShardedKv, validate};
use skv_sharding::GroupId;

use crate::apply::{Applier, Change};
use crate::build::{Desired, Input, build};
use crate::cache::Cache;
use crate::care::{self, Care, GroupStep, Plan, Step};
use crate::dereference::{Observed, ObservedMap, dereference};
use crate::error::{Class, Error};
use crate::gitops::annotate_claim;
use crate::metrics::Metrics;
use crate::names::{Names, ServerSet};
use crate::placement;
use crate::report::Reporter;
use crate::servers::Servers;
use crate::status;
use crate::wanted::wanted;

/// Leaders change without a trace in the API server, so they are asked for now and then.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Servers catch up without a trace in the API server too.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// What every pass needs.
pub(crate) struct Context {
    pub(crate) cache: Cache,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) client: Client,
    pub(crate) servers: Arc<dyn Servers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cluster_domain: String,
    pub(crate) own_namespace: String,
}

/// Does what there is to do for one resource, and says when to look again.
pub(crate) async fn reconcile(
    resource: &DeserializeGuard<ShardedKv>,
    context: &Context,
) -> Result<Action, Error> {
    let names = Names { resource: resource.name_any(), namespace: resource.namespace().unwrap_or_default() };
    if resource.meta().deletion_timestamp.is_some() {
        // Owner references and the retention of claims do all that is to be done.
        return Ok(Action::await_change());
    }
    context.cache.ready().await;
    let resource = match &resource.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            context.metrics.passed("invalid");
            if context.reporter.report_unreadable(&names, invalid).await? {
                tracing::warn!(namespace = names.namespace, name = names.resource, %invalid, "the resource can't be read");
            }
            return Ok(Action::await_change());
        }
    };
    let problems = problems(resource);
    if !problems.is_empty() {
        context.metrics.passed("invalid");
        let old = resource.status.clone().unwrap_or_default();
        let new = status::invalid(&old, &problems, resource.metadata.generation, now());
        context.reporter.report(resource, new).await?;
        return Ok(Action::await_change());
    }
    maintain(resource, names, context).await
}

/// All that is wrong with it, also compared with what it was created as.
fn problems(resource: &ShardedKv) -> Vec<Problem> {
    let mut problems = validate(&resource.name_any(), &resource.spec);
    let founded = resource.status.as_ref().and_then(|status| status.founded.as_ref());
    problems.extend(founded.iter().flat_map(|founded| founded.problems(&resource.spec)));
    problems
}

async fn maintain(resource: &ShardedKv, names: Names, context: &Context) -> Result<Action, Error> {
    let Context { client, servers, .. } = context;
    let servers = servers.as_ref();
    let now = now();
    let mut seen = dereference(&context.cache, &names, now);
    let manager_address = names.manager_address(&context.cluster_domain, resource.spec.ports.manager);
    if seen.ready_managers > 0 {
        let assignment = servers.assignment(&manager_address).await;
        seen.map = assignment.as_ref().map(ObservedMap::from);
        placement::add_founded(&resource.spec, seen.map.as_ref(), &mut seen.servers);
    }
    let Some(plan) = care::plan(client, servers, &names, resource, &mut seen, now).await? else {
        // It changed since it was watched; the change is on its way.
        return Ok(Action::requeue(LOOK_SOON));
    };
    let mut resource = plan.resource().unwrap_or(resource).clone();
    let input = input(&resource, names, &seen, &plan, context);
    let applied =
        if resource.spec.paused { Ok(false) } else { apply_all(&resource, &input, &seen, context).await };
    if applied.as_ref().is_err_and(|error| error.class() == Class::Gone) {
        return Ok(Action::await_change());
    }
    let changed = applied.as_ref().is_ok_and(|changed| *changed);
    let (care, outcome) = match applied {
        Ok(_) => plan.carry_out(client, servers, &input.names, &manager_address, &mut resource).await,
        Err(error) => (Care::default(), Err(error)),
    };
    let failure = outcome.as_ref().err().map(Error::to_string);
    if let Some(step) = &care.step {
        tell(&resource, step, context).await;
    }
    for step in &care.group_steps {
        tell_of_groups(&resource, &input.names, step, context).await;
    }
    let old = resource.status.clone().unwrap_or_default();
    let generation = resource.metadata.generation;
    let circumstances =
        status::Circumstances { seen: &seen, care: &care, changed, failure: failure.as_deref() };
    let new = status::observed(&input.names, &resource.spec, &old, &circumstances, generation, now);
    let reported = context.reporter.report(&resource, new).await;
    outcome?;
    reported?;
    context.metrics.passed("done");
    let moving = !resource.spec.paused && seen.map.as_ref().is_some_and(|map| map.moving > 0);
    let soon =
        changed || moving || !care.turnover.is_empty() || care.doing.is_some() && care.refused.is_none();
    Ok(Action::requeue(if soon { LOOK_SOON } else { LOOK_AGAIN }))
}

fn input(resource: &ShardedKv, names: Names, seen: &Observed, plan: &Plan, context: &Context) -> Input {
    Input {
        names,
        spec: resource.spec.clone(),
        wanted: placement::server_sets(&resource.spec, wanted(&resource.spec, seen)),
        // A resource that was read from the API server has a name and a uid.
        owner: resource.controller_owner_ref(&()).unwrap_or_default(),
        existing: plan.existing(&resource.spec, &seen.servers),
        cluster_domain: context.cluster_domain.clone(),
        operator_namespace: context.own_namespace.clone(),
    }
}

/// Brings all objects into their form; answers whether any had another.
async fn apply_all(
    resource: &ShardedKv,
    input: &Input,
    seen: &Observed,
    context: &Context,
) -> Result<bool, Error> {
    let desired = build(input)?;
    // One object that can't be applied mustn't keep the others from being there.
    let (mut failed, mut changed) = (None, false);
    for object in &desired {
        let change = match context.applier.apply(&input.names, object, &context.cache).await {
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
            tracing::info!(
                namespace = object.namespace,
                kind = object.resource.kind,
                name = object.name,
                "created"
            );
            announce(resource, object, context).await;
        }
    }
    for title in context.applier.delete_obsolete(&input.names, &desired, &context.cache).await? {
        tracing::info!(namespace = input.names.namespace, object = title, "deleted: it was switched off");
    }
    for (claim, annotations) in &seen.to_annotate {
        match annotate_claim(&context.client, &input.names, claim, annotations).await {
            Ok(()) => context.metrics.wrote("PersistentVolumeClaim"),
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    failed.map_or(Ok(changed), Err)
}

/// Of all objects, new servers are what people want to hear of.
async fn announce(resource: &ShardedKv, object: &Desired, context: &Context) {
    if object.resource.kind == "StatefulSet" {
        let note = format!("Created the servers of {}", object.name);
        publish(resource, "ServersCreated", "Create", note, (&object.resource.kind, &object.name), context)
            .await;
    }
}

/// Says which step was taken.
async fn tell(resource: &ShardedKv, step: &Step, context: &Context) {
    let (reason, server, note) = match step {
        Step::Evict(pod) => ("Replacing", &pod.name, format!("Evicted {}, which is out of date", pod.name)),
        Step::Delete(pod) => (
            "Replacing",
            &pod.name,
            format!("Deleted {}, which doesn't come up and is out of date", pod.name),
        ),
        Step::ForceDelete(pod) => (
            "Replacing",
            &pod.name,
            format!("Let go of {}: its node is lost, and it has no volume that is to stay", pod.name),
        ),
        Step::HandOver { group, server, .. } => {
            ("HandedOver", server, format!("{server} handed over the leadership of {group}"))
        }
        Step::Remove { group, server, .. } => {
            ("Removed", server, format!("{server} is no member of {group} any more"))
        }
    };
    tracing::info!(namespace = resource.namespace(), name = resource.name_any(), note, "took a step");
    publish(resource, reason, "Step", note, ("Pod", server), context).await;
}

/// Says which step of whole groups was taken.
async fn tell_of_groups(resource: &ShardedKv, names: &Names, step: &GroupStep, context: &Context) {
    let (reason, groups, note) = match step {
        GroupStep::Join(groups) => {
            ("Joined", &groups[..], format!("The shards are spread over {} too", GroupId::list(groups)))
        }
        GroupStep::Leave(groups) => {
            ("Left", &groups[..], format!("The shards of {} go to the other groups", GroupId::list(groups)))
        }
        GroupStep::Retire { group, .. } => {
            ("Retired", from_ref(group), format!("{group} has no shards, and takes none any more"))
        }
        GroupStep::LetGo { group, pod } => {
            ("LetGo", from_ref(group), format!("Let go of {} of {group}: its node is lost", pod.name))
        }
        GroupStep::Disown { group, .. } => {
            ("VolumesKept", from_ref(group), format!("The volumes of {group} are kept"))
        }
        GroupStep::Delete { group, .. } => {
            ("GroupDeleted", from_ref(group), format!("Deleted the objects of {group}"))
        }
    };
    tracing::info!(namespace = resource.namespace(), name = resource.name_any(), note, "took a step");
    let about = groups.first().map_or_else(String::new, |group| names.servers_of(ServerSet::Group(*group)));
    publish(resource, reason, "Step", note, ("StatefulSet", &about), context).await;
}

async fn publish(
    resource: &ShardedKv,
    reason: &str,
    action: &str,
    note: String,
    (kind, name): (&str, &str),
    context: &Context,
) {
    let event = Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note),
        action: action.to_owned(),
        // Events that differ in nothing but their note would be counted as one.
        secondary: Some(ObjectReference {
            kind: Some(kind.to_owned()),
            namespace: resource.namespace(),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }),
    };
    context.reporter.publish(&event, &resource.object_ref(&())).await;
}

/// Whole seconds, which is what the API server keeps.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
