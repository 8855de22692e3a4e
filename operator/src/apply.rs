//! Brings objects into the form that was built: server-side apply, only where it is needed.
//!
//! An apply that changes nothing is a write request all the same. So the operator remembers the content
//! that it applied and the resulting object; while both are the same, nothing is sent.

use std::collections::HashMap;
use std::mem::take;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::ApiResource;
use kube::{Client, Resource};
use parking_lot::Mutex;

use crate::cache::{Cache, fingerprint, of_content};
use crate::error::Error;
use crate::unchanged::Unchanged;
use skv_operator_plan::build::Desired;
use skv_operator_plan::names::{MANAGER, Names};
use skv_operator_plan::ownership::{Ownership, ownership};

/// The change that was made to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object was as it should be.
    None,
    /// The object was made.
    Created,
    /// The object was there, and was applied.
    Applied,
}

/// Applies objects.
pub(crate) struct Applier {
    client: Client,
    applied: Mutex<HashMap<Key, Applied>>,
    /// The resources of which nothing need be applied.
    pub(crate) unchanged: Unchanged,
}

/// The kind, namespace and name of an object.
type Key = (String, String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Applied {
    /// The fingerprint of the content.
    desired: u64,
    /// The fingerprint of the resulting object.
    live: u64,
}

impl Applier {
    pub(crate) fn new(client: Client) -> Applier {
        Applier { client, applied: Mutex::default(), unchanged: Unchanged::default() }
    }

    /// Applies one object unless it is as it should be.
    pub(crate) async fn apply(
        &self,
        names: &Names,
        desired: &Desired,
        cache: &Cache,
    ) -> Result<Change, Error> {
        let live = cache.get(desired);
        if let Some(live) = &live {
            must_be_ours(names, desired, &live.metadata)?;
        }
        let wanted = of_content(&desired.content);
        if let Some(live) = &live {
            let now = Applied { desired: wanted, live: live.fingerprint };
            if self.applied.lock().get(&key(desired)) == Some(&now) {
                return Ok(Change::None);
            }
        }
        let api = self.api(desired);
        // An object that no operator made is not in the cache.
        let exists = match &live {
            Some(_) => true,
            None => exists_as_ours(names, desired, &api).await?,
        };
        let mut content = desired.content.clone();
        if desired.counts_pods() && exists {
            // The number of pods follows from the observed object: a later version isn't touched.
            let seen = live.as_ref().and_then(|live| live.metadata.resource_version.clone());
            let seen = seen.ok_or_else(|| Error::Unseen { object: desired.title() })?;
            content["metadata"]["resourceVersion"] = seen.into();
        }
        let parameters = PatchParams::apply(MANAGER).force();
        let result = api
            .patch(&desired.name, &parameters, &Patch::Apply(&content))
            .await
            .map_err(|source| Error::api("apply", &desired.title(), source))?;
        let applied = Applied { desired: wanted, live: fingerprint(&result)? };
        self.applied.lock().insert(key(desired), applied);
        Ok(match &live {
            // No field differed; only an operator that has just started asks.
            Some(live) if live.metadata.resource_version == result.metadata.resource_version => Change::None,
            _ if exists => Change::Applied,
            _ => Change::Created,
        })
    }

    /// Deletes objects that were switched off. Objects that hold or serve data can't be.
    pub(crate) async fn delete_obsolete(
        &self,
        names: &Names,
        desired: &[Desired],
        cache: &Cache,
    ) -> Result<Vec<String>, Error> {
        let mut services = cache.of::<Service>(names);
        // The other Services stay for as long as their servers.
        services.retain(|service| {
            service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("NodePort"))
        });
        let optional = [
            metadata(services),
            metadata(cache.of::<PodDisruptionBudget>(names)),
            metadata(cache.of::<NetworkPolicy>(names)),
        ];
        let mut deleted = Vec::new();
        for (resource, objects) in optional {
            for object in objects {
                let name = object.name.clone().unwrap_or_default();
                let wanted = desired.iter().any(|d| d.resource == resource && d.name == name);
                let is_ours = ownership(names, &object) == Ownership::Ours;
                if wanted || !is_ours || object.deletion_timestamp.is_some() {
                    continue;
                }
                let title = format!("{} {name}", resource.kind);
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), &names.namespace, &resource);
                let only_this = Preconditions { uid: object.uid, resource_version: None };
                match api.delete(&name, &DeleteParams::default().preconditions(only_this)).await {
                    Ok(_) => deleted.push(title),
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(source) => return Err(Error::api("delete", &title, source)),
                }
            }
        }
        Ok(deleted)
    }

    /// Forgets a resource that is gone.
    pub(crate) fn forget(&self, names: &Names) {
        let prefix = format!("{}-", names.resource);
        self.applied.lock().retain(|(_, namespace, name), _| {
            *namespace != names.namespace || (*name != names.resource && !name.starts_with(&prefix))
        });
        self.unchanged.forget(names);
    }

    fn api(&self, desired: &Desired) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &desired.namespace, &desired.resource)
    }
}

async fn exists_as_ours(names: &Names, desired: &Desired, api: &Api<DynamicObject>) -> Result<bool, Error> {
    let found = api
        .get_metadata_opt(&desired.name)
        .await
        .map_err(|source| Error::api("read", &desired.title(), source))?;
    let Some(found) = found else { return Ok(false) };
    must_be_ours(names, desired, &found.metadata)?;
    Ok(true)
}

fn must_be_ours(names: &Names, desired: &Desired, found: &ObjectMeta) -> Result<(), Error> {
    match ownership(names, found) {
        Ownership::Ours => Ok(()),
        Ownership::Sibling(owner) => Err(Error::Sibling { object: desired.title(), owner }),
        Ownership::Foreign => Err(Error::Foreign { object: desired.title() }),
    }
}

fn key(desired: &Desired) -> Key {
    (desired.resource.kind.clone(), desired.namespace.clone(), desired.name.clone())
}

/// Returns a kind, and the metadata of these objects of it.
fn metadata<K: Resource<DynamicType = ()>>(objects: Vec<K>) -> (ApiResource, Vec<ObjectMeta>) {
    let described = objects.into_iter().map(|mut object| take(object.meta_mut())).collect();
    (ApiResource::erase::<K>(&()), described)
}
