//! Drives passes over resources: watches them and all their objects, in one namespace or in all, and
//! repeats passes that failed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join, ready};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::runtime::controller::{Action, Config, Controller, Error as PassError};
use kube::runtime::events::Recorder;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, reflector};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use skv_resource::ShardedKv;
use tokio::time::Instant;

use crate::apply::Applier;
use crate::cache::{Cache, PAGE};
use crate::cordons::Cordons;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::reconcile::{Context, reconcile};
use crate::report::Reporter;
use crate::servers::Network;
use crate::silence::Silences;
use crate::surroundings::Surroundings;
use crate::time;
use skv_operator_plan::names::{INSTANCE_LABEL, MANAGER, Names};

/// The pause that gathers changes: those of one resource's objects come in swarms.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// The pause between two looks for our definitions.
const DEFINITION_PAUSE: Duration = Duration::from_secs(5);

/// A context, and what is known of each resource by its namespace and name.
struct Driver {
    context: Context,
    /// The number of failures in a row.
    failures: Mutex<HashMap<(String, String), u32>>,
    /// The resources that were passed over.
    passed: Mutex<HashSet<(String, String)>>,
}

/// Acts on the resources of one namespace, or of all, for as long as the process lives.
pub(crate) async fn control(
    client: Client,
    namespace: Option<String>,
    options: &Options,
    surroundings: &Surroundings,
    metrics: Arc<Metrics>,
) {
    // Resources of another version of the definition are read too.
    let kind = kind();
    let resources: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    await_definition(&resources).await;
    let (cache, filling, changes) = Cache::watch(&client, namespace.as_deref());
    let (cordons, cordoned) = Cordons::watch(&client);
    let recorder = Recorder::new(client.clone(), MANAGER.into());
    let context = Context {
        cache,
        applier: Applier::new(client.clone()),
        reporter: Reporter { client: client.clone(), recorder },
        client,
        servers: Arc::new(Network),
        metrics,
        cluster_domain: surroundings.cluster_domain.clone(),
        own_namespace: options.own_namespace.clone(),
        users: surroundings.users,
        image: options.image.clone(),
        cordons,
        silences: Silences::default(),
        clock: time::system(),
    };
    let driver = Arc::new(Driver { context, failures: Mutex::default(), passed: Mutex::default() });
    let config = Config::default().debounce(DEBOUNCE).concurrency(options.concurrency);
    let writer = Writer::<DynamicObject>::new(kind.clone());
    let all = writer.as_reader();
    // The record of who wrote which field is larger than the rest, and nobody reads it.
    let seen = watcher(resources, watcher::Config::default().page_size(PAGE))
        .modify(|object| object.metadata.managed_fields = None);
    // A resource that was deleted begins a pass too, which doesn't find it, and forgets it.
    let seen = reflector(writer, seen).touched_objects();
    let mut controller = Controller::for_stream_with(seen, all.clone(), kind).with_config(config);
    for change in changes {
        controller = controller.watches_stream_with(change.stream, |object| owner(&object), change.resource);
    }
    controller = controller.watches_stream(cordoned, move |_| every(&all));
    tracing::info!(namespace = namespace.as_deref().unwrap_or("all"), "acting");
    let retry =
        |resource: Arc<DynamicObject>, error: &Error, driver: Arc<Driver>| driver.retry(&resource, error);
    let passes = controller.run(pass, retry, Arc::clone(&driver)).for_each(|end| {
        driver.ended(end);
        ready(())
    });
    join(passes, filling.finish(&driver.context.metrics.health)).await;
}

/// Returns the resource that an object belongs to. It goes by the label: the shard map may outlive its
/// owner, and pods are owned by StatefulSets.
fn owner(object: &DynamicObject) -> Option<ObjectRef<DynamicObject>> {
    let name = object.labels().get(INSTANCE_LABEL)?;
    Some(ObjectRef::new_with(name, kind()).within(object.metadata.namespace.as_deref()?))
}

/// Returns all resources.
fn every(resources: &Store<DynamicObject>) -> Vec<ObjectRef<DynamicObject>> {
    let reference = |object: &Arc<DynamicObject>| ObjectRef::from_obj_with(object.as_ref(), kind());
    resources.state().iter().map(reference).collect()
}

fn kind() -> ApiResource {
    ApiResource::erase::<ShardedKv>(&())
}

async fn pass(resource: Arc<DynamicObject>, driver: Arc<Driver>) -> Result<Action, Error> {
    let started = Instant::now();
    let failures = driver.failures.lock().get(&key(&resource)).copied().unwrap_or_default();
    let end = Box::pin(reconcile(&resource, failures, &driver.context)).await;
    driver.context.metrics.duration.observe(started.elapsed().as_secs_f64());
    driver.count(|passed| passed.insert(key(&resource)));
    if end.is_ok() {
        driver.failures.lock().remove(&key(&resource));
    }
    end
}

fn key(resource: &DynamicObject) -> (String, String) {
    (resource.namespace().unwrap_or_default(), resource.name_any())
}

impl Driver {
    /// Returns the pause before a failed pass is tried again.
    fn retry(&self, resource: &DynamicObject, error: &Error) -> Action {
        self.context.metrics.passed("failed");
        let mut failures = self.failures.lock();
        let failed = failures.entry(key(resource)).or_default();
        let pause = error.pause(*failed);
        *failed += 1;
        tracing::warn!(namespace = resource.namespace(), name = resource.name_any(), %error, ?pause, "the pass failed");
        pause.map_or_else(Action::await_change, Action::requeue)
    }

    /// Changes the resources that were passed over, and counts them.
    fn count(&self, change: impl FnOnce(&mut HashSet<(String, String)>) -> bool) {
        let mut passed = self.passed.lock();
        change(&mut passed);
        self.context.metrics.resources.set(i64::try_from(passed.len()).unwrap_or(i64::MAX));
    }

    fn ended(&self, end: Result<(ObjectRef<DynamicObject>, Action), PassError<Error, watcher::Error>>) {
        match end {
            // A failed pass was handled where it failed.
            Ok(_) | Err(PassError::ReconcilerFailed(..)) => {}
            Err(PassError::ObjectNotFound(gone)) => {
                let names = Names {
                    resource: gone.name.clone(),
                    namespace: gone.namespace.clone().unwrap_or_default(),
                };
                let key = (names.namespace.clone(), names.resource.clone());
                self.failures.lock().remove(&key);
                self.count(|passed| passed.remove(&key));
                self.context.applier.forget(&names);
                self.context.silences.forget(&names);
            }
            Err(error) => tracing::warn!(%error, "a watch failed; it is begun again"),
        }
    }
}

/// Waits until the API server knows our resources: an operator may be installed before them.
async fn await_definition(resources: &Api<DynamicObject>) {
    let mut told = false;
    loop {
        match resources.list(&ListParams::default().limit(1)).await {
            Ok(_) => return,
            Err(error) if !told => {
                told = true;
                let missing = matches!(&error, kube::Error::Api(status) if status.code == 404);
                let hint = if missing { "apply the manifests in deploy/crds" } else { "trying again" };
                tracing::warn!(%error, hint, "ShardedKV resources can't be listed yet");
            }
            Err(_) => {}
        }
        tokio::time::sleep(DEFINITION_PAUSE).await;
    }
}
