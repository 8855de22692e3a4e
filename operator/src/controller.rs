//! Drives passes over resources: watches them and all their objects, in one namespace or in all, and
//! repeats passes that failed.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller, Error as PassError};
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use skv_resource::ShardedKv;
use tokio::time::Instant;

use crate::apply::Applier;
use crate::cache::Cache;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::reconcile::{Context, reconcile};
use crate::report::Reporter;
use crate::servers::Network;
use crate::time;
use skv_operator_plan::names::{INSTANCE_LABEL, MANAGER, Names};

/// The pause that gathers changes: those of one resource's objects come in swarms.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// The pause between two looks for our definitions.
const DEFINITION_PAUSE: Duration = Duration::from_secs(5);

type Guarded = DeserializeGuard<ShardedKv>;

/// A context, and the number of failures of each resource in a row.
struct Driver {
    context: Context,
    failures: Mutex<HashMap<(String, String), u32>>,
}

/// Acts on the resources of one namespace, or of all, for as long as the process lives.
pub(crate) async fn control(
    client: Client,
    namespace: Option<String>,
    options: &Options,
    metrics: Arc<Metrics>,
) {
    let resources: Api<Guarded> = match &namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    await_definition(&resources).await;
    let (cache, changes) = Cache::watch(&client, namespace.as_deref());
    let recorder = Recorder::new(client.clone(), MANAGER.into());
    let context = Context {
        cache,
        applier: Applier::new(client.clone()),
        reporter: Reporter { client: client.clone(), recorder },
        client,
        servers: Arc::new(Network),
        metrics,
        cluster_domain: options.cluster_domain.clone(),
        own_namespace: options.own_namespace.clone(),
        clock: time::system(),
    };
    let driver = Arc::new(Driver { context, failures: Mutex::default() });
    let config = Config::default().debounce(DEBOUNCE).concurrency(options.concurrency);
    let mut controller = Controller::new(resources, watcher::Config::default()).with_config(config);
    for change in changes {
        controller = controller.watches_stream_with(change.stream, |object| owner(&object), change.resource);
    }
    tracing::info!(namespace = namespace.as_deref().unwrap_or("all"), "acting");
    let retry = |resource: Arc<Guarded>, error: &Error, driver: Arc<Driver>| driver.retry(&resource, error);
    let mut ends = pin!(controller.run(pass, retry, Arc::clone(&driver)));
    while let Some(end) = ends.next().await {
        driver.ended(end);
    }
}

/// Returns the resource that an object belongs to. It goes by the label: the shard map may outlive its
/// owner, and pods are owned by StatefulSets.
fn owner(object: &DynamicObject) -> Option<ObjectRef<Guarded>> {
    let name = object.labels().get(INSTANCE_LABEL)?;
    Some(ObjectRef::new(name).within(object.metadata.namespace.as_deref()?))
}

async fn pass(resource: Arc<Guarded>, driver: Arc<Driver>) -> Result<Action, Error> {
    let started = Instant::now();
    let end = reconcile(&resource, &driver.context).await;
    driver.context.metrics.duration.observe(started.elapsed().as_secs_f64());
    if end.is_ok() {
        driver.failures.lock().remove(&key(&resource));
    }
    end
}

fn key(resource: &Guarded) -> (String, String) {
    (resource.namespace().unwrap_or_default(), resource.name_any())
}

impl Driver {
    /// Returns the pause before a failed pass is tried again.
    fn retry(&self, resource: &Guarded, error: &Error) -> Action {
        self.context.metrics.passed("failed");
        let mut failures = self.failures.lock();
        let failed = failures.entry(key(resource)).or_default();
        let pause = error.pause(*failed);
        *failed += 1;
        tracing::warn!(namespace = resource.namespace(), name = resource.name_any(), %error, ?pause, "the pass failed");
        pause.map_or_else(Action::await_change, Action::requeue)
    }

    fn ended(&self, end: Result<(ObjectRef<Guarded>, Action), PassError<Error, watcher::Error>>) {
        match end {
            // A failed pass was handled where it failed.
            Ok(_) | Err(PassError::ReconcilerFailed(..)) => {}
            Err(PassError::ObjectNotFound(gone)) => {
                let names = Names {
                    resource: gone.name.clone(),
                    namespace: gone.namespace.clone().unwrap_or_default(),
                };
                self.failures.lock().remove(&(names.namespace.clone(), names.resource.clone()));
                self.context.applier.forget(&names);
            }
            Err(error) => tracing::warn!(%error, "a watch failed; it is begun again"),
        }
    }
}

/// Waits until the API server knows our resources: an operator may be installed before them.
async fn await_definition(resources: &Api<Guarded>) {
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
