//! Our objects, as watches have seen them, so that a pass in a steady state asks the API server nothing.

mod fingerprint;
mod objects;
mod slim;

use std::time::Duration;

use futures::future::join_all;
use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use skv_resource::ShardMap;
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use self::fingerprint::{fingerprint, of_content};
pub(crate) use self::objects::Outline;

use self::objects::Objects;
use self::slim::slim;
use crate::health::Health;
use skv_operator_plan::build::Desired;
use skv_operator_plan::names::{MANAGED_BY_LABEL, MANAGER, Names};

/// Returns the kinds of objects that resources consist of, and of their pods.
pub(crate) fn kinds() -> [ApiResource; 11] {
    [
        ApiResource::erase::<ShardMap>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Role>(&()),
        ApiResource::erase::<RoleBinding>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Pod>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
    ]
}

/// The time for the first list of a kind. After it people are told; the list is awaited all the same.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// The number of objects that are listed at a time. Each is a tree of values until it is packed, which for a whole
/// list would take more memory than all that is kept.
pub(crate) const PAGE: u32 = 100;

/// The seen objects of all kinds.
#[derive(Clone)]
pub(crate) struct Cache {
    kinds: Vec<Seen>,
    filled: watch::Receiver<bool>,
}

/// The seen objects of one kind.
#[derive(Clone)]
struct Seen {
    kind: ApiResource,
    objects: Objects,
}

/// The first lists of all kinds.
pub(crate) struct Filling {
    kinds: Vec<Seen>,
    scope: String,
    filled: watch::Sender<bool>,
}

/// The kind, the name and the fingerprint of each of some objects.
pub(crate) type Fingerprints = Vec<(String, String, u64)>;

/// The objects of one kind as they change, deletions included.
pub(crate) struct Changes<S> {
    pub(crate) resource: ApiResource,
    pub(crate) stream: S,
}

impl Filling {
    /// Waits until every kind was listed once; the health says which can't be.
    pub(crate) async fn finish(self, health: &Health) {
        join_all(self.kinds.iter().map(|seen| self.list(seen, health))).await;
        self.filled.send_replace(true);
    }

    async fn list(&self, Seen { kind, objects }: &Seen, health: &Health) {
        if timeout(FIRST_LIST, objects.wait_until_listed()).await.is_ok() {
            return;
        }
        let kind = format!("{} in {}", kind.plural, self.scope);
        tracing::error!(
            kind,
            "can't be listed, so that nothing is done: see the watch's failure, and the rights"
        );
        health.lost(&kind);
        objects.wait_until_listed().await;
        tracing::info!(kind, "can be listed now");
        health.found(&kind);
    }
}

impl Cache {
    /// Begins to watch all our objects, in one namespace or in all. Following the changes keeps the cache
    /// up to date; it is ready once the filling has finished.
    pub(crate) fn watch(
        client: &Client,
        namespace: Option<&str>,
    ) -> (
        Cache,
        Filling,
        Vec<Changes<impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<>>>,
    ) {
        let ours =
            watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}")).page_size(PAGE);
        let (mut seen, mut changes) = (Vec::new(), Vec::new());
        for resource in kinds() {
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let objects = Objects::default();
            seen.push(Seen { kind: resource.clone(), objects: objects.clone() });
            let kind = resource.kind.clone();
            let stream = watcher(api, ours.clone())
                .default_backoff()
                .modify(move |object| slim(&kind, object))
                .inspect_ok(move |event| objects.note(event))
                // Deletions are changes like all others; no predicate hides any.
                .touched_objects();
            changes.push(Changes { resource, stream });
        }
        let (sender, filled) = watch::channel(false);
        let scope = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
        let filling = Filling { kinds: seen.clone(), scope, filled: sender };
        (Cache { kinds: seen, filled }, filling, changes)
    }

    /// Waits until every object was seen once.
    pub(crate) async fn ready(&self) {
        // The wait fails only if the watches are gone, with which the process ends.
        let _ = self.filled.clone().wait_for(|filled| *filled).await;
    }

    /// Returns the outline of the object as it was last seen.
    pub(crate) fn get(&self, desired: &Desired) -> Option<Outline> {
        self.seen(&desired.resource)?.objects.get(&desired.namespace, &desired.name)
    }

    /// Returns all objects of one kind that belong to a resource.
    pub(crate) fn of<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, names: &Names) -> Vec<K> {
        self.seen(&ApiResource::erase::<K>(&())).map(|seen| seen.objects.of(names)).unwrap_or_default()
    }

    /// Returns the fingerprints of all objects of a resource that the operator builds: all but pods and claims.
    pub(crate) fn fingerprints(&self, names: &Names) -> Fingerprints {
        let mut fingerprints = Fingerprints::new();
        for Seen { kind, objects } in &self.kinds {
            if ["Pod", "PersistentVolumeClaim"].contains(&kind.kind.as_str()) {
                continue;
            }
            let seen = objects.fingerprints(names).into_iter();
            fingerprints.extend(seen.map(|(name, fingerprint)| (kind.kind.clone(), name, fingerprint)));
        }
        fingerprints.sort();
        fingerprints
    }

    fn seen(&self, kind: &ApiResource) -> Option<&Seen> {
        self.kinds.iter().find(|seen| seen.kind == *kind)
    }

    /// Returns a cache that holds the objects of a test.
    #[cfg(test)]
    pub(crate) fn filled(mut objects: impl FnMut(&ApiResource) -> Vec<DynamicObject>) -> Cache {
        let (cache, feeds) = Cache::written();
        for (resource, feed) in feeds {
            for object in objects(&resource) {
                feed.show(watcher::Event::Apply(object));
            }
        }
        cache
    }

    /// Returns an empty cache, and the feeds by which a test shows it what changes.
    #[cfg(test)]
    pub(crate) fn written() -> (Cache, Vec<(ApiResource, Feed)>) {
        let seen = kinds().map(|kind| Seen { kind, objects: Objects::default() });
        let feeds = seen.clone().map(|seen| {
            let feed = Feed(seen.clone());
            feed.show(watcher::Event::Init);
            feed.show(watcher::Event::InitDone);
            (seen.kind, feed)
        });
        let (_, filled) = watch::channel(true);
        (Cache { kinds: seen.into(), filled }, feeds.into())
    }
}

/// A watch of one kind whose events a test makes.
#[cfg(test)]
pub(crate) struct Feed(Seen);

#[cfg(test)]
impl Feed {
    pub(crate) fn show(&self, event: watcher::Event<DynamicObject>) {
        let Feed(Seen { kind, objects }) = self;
        objects.note(&event.modify(|object| slim(&kind.kind, object)));
    }
}

#[cfg(test)]
mod tests;
