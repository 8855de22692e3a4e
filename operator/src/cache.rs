//! Our objects, as watches have seen them, so that a pass in a steady state asks the API server nothing.

use std::sync::Arc;

use futures::Stream;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::reflector::{ObjectRef, reflector};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use skv_resource::ShardMap;

use skv_operator_plan::build::Desired;
use skv_operator_plan::names::{INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER, Names};

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

/// The stores of seen objects, one per kind.
#[derive(Clone)]
pub(crate) struct Cache(Vec<(ApiResource, Store<DynamicObject>)>);

/// The objects of one kind as they change, deletions included.
pub(crate) struct Changes<S> {
    pub(crate) resource: ApiResource,
    pub(crate) stream: S,
}

impl Cache {
    /// Begins to watch all our objects, in one namespace or in all. Following the changes keeps the cache
    /// up to date.
    pub(crate) fn watch(
        client: &Client,
        namespace: Option<&str>,
    ) -> (Cache, Vec<Changes<impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<>>>) {
        let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
        let (mut stores, mut changes) = (Vec::new(), Vec::new());
        for resource in kinds() {
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let writer = Writer::new(resource.clone());
            stores.push((resource.clone(), writer.as_reader()));
            let stream = watcher(api, ours.clone())
                .default_backoff()
                // These fields are large, and of no interest here.
                .modify(|object| object.managed_fields_mut().clear());
            // Deletions are changes like all others; no predicate hides any.
            let stream = reflector(writer, stream).touched_objects();
            changes.push(Changes { resource, stream });
        }
        (Cache(stores), changes)
    }

    /// Waits until every object was seen once.
    pub(crate) async fn ready(&self) {
        for (_, store) in &self.0 {
            // The wait fails only if the watch is gone, with which the process ends.
            let _ = store.wait_until_ready().await;
        }
    }

    /// Returns the object as it was last seen.
    pub(crate) fn get(&self, desired: &Desired) -> Option<Arc<DynamicObject>> {
        let store = self.store(&desired.resource)?;
        let key = ObjectRef::new_with(&desired.name, desired.resource.clone()).within(&desired.namespace);
        store.get(&key)
    }

    /// Returns all objects of one kind that belong to a resource.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(&self, names: &Names) -> Vec<Arc<DynamicObject>> {
        let Some(store) = self.store(&ApiResource::erase::<K>(&())) else { return Vec::new() };
        let mut objects = store.state_filter(|object| {
            object.metadata.namespace.as_ref() == Some(&names.namespace)
                && object.labels().get(INSTANCE_LABEL) == Some(&names.resource)
        });
        objects.sort_by_key(|object| object.name_any());
        objects
    }

    fn store(&self, resource: &ApiResource) -> Option<&Store<DynamicObject>> {
        self.0.iter().find(|(kind, _)| kind == resource).map(|(_, store)| store)
    }

    /// Returns a cache that holds the objects of a test.
    #[cfg(test)]
    pub(crate) fn filled(mut objects: impl FnMut(&ApiResource) -> Vec<DynamicObject>) -> Cache {
        let filled = kinds().map(|resource| {
            let mut writer = Writer::new(resource.clone());
            writer.apply_watcher_event(&watcher::Event::Init);
            for object in objects(&resource) {
                writer.apply_watcher_event(&watcher::Event::InitApply(object));
            }
            writer.apply_watcher_event(&watcher::Event::InitDone);
            (resource, writer.as_reader())
        });
        Cache(filled.into())
    }
}
