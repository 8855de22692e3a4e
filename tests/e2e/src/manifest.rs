//! Applying manifests.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use kube::{Api, discovery};
use serde_json::Value;

use crate::{Cluster, Namespace};

/// The owner of the fields that tests set.
const FIELD_MANAGER: &str = "skv-e2e";

impl Namespace {
    /// Applies all objects of a manifest, as `kubectl apply --server-side` does.
    pub async fn apply(&self, manifest: &str) {
        self.cluster.apply(manifest, &self.name).await;
    }
}

impl Cluster {
    /// Applies all objects of a manifest. Those that belong into a namespace and name none go into
    /// this one.
    pub async fn apply(&self, manifest: &str, namespace: &str) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(manifest).expect("the manifest is YAML");
        for object in objects {
            let object: DynamicObject = serde_json::from_value(object).expect("the manifest has objects");
            let title = title(&object);
            let applied = self.apply_object(&object, namespace).await;
            applied.unwrap_or_else(|error| panic!("{title} is refused: {error}"));
        }
    }

    /// Applies one object; returns the API server's answer.
    pub async fn apply_object(
        &self,
        object: &DynamicObject,
        namespace: &str,
    ) -> Result<DynamicObject, kube::Error> {
        let types = object.types.as_ref().expect("an object has apiVersion and kind");
        let name = object.metadata.name.as_deref().expect("an object has a name");
        let kind = GroupVersionKind::try_from(types).expect("an object has apiVersion and kind");
        let found = discovery::pinned_kind(&self.client, &kind).await;
        let (resource, capabilities) =
            found.unwrap_or_else(|error| panic!("{} is of no known kind: {error}", title(object)));
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
        };
        api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await
    }
}

fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("an object without a kind", |types| types.kind.as_str());
    format!("{kind} {}", object.metadata.name.as_deref().unwrap_or("without a name"))
}
