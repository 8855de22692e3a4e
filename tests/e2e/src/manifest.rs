//! Applying manifests.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, discovery};
use serde_json::Value;

use crate::Namespace;

/// Who owns the fields that tests set.
const FIELD_MANAGER: &str = "skv-e2e";

impl Namespace {
    /// Applies all objects of a manifest, as `kubectl apply --server-side` does. IMAGE in it
    /// stands for the image under test.
    pub async fn apply(&self, manifest: &str) {
        let manifest = manifest.replace("IMAGE", &self.cluster.image);
        let objects: Vec<Value> = serde_saphyr::from_multiple(&manifest).expect("the manifest is YAML");
        for object in objects {
            let object: DynamicObject = serde_json::from_value(object).expect("the manifest has objects");
            self.apply_object(&object).await;
        }
    }

    async fn apply_object(&self, object: &DynamicObject) {
        let types = object.types.as_ref().expect("an object has apiVersion and kind");
        let name = object.metadata.name.as_deref().expect("an object has a name");
        let what = format!("{} {name}", types.kind);
        let kind = GroupVersionKind::try_from(types).expect("an object has apiVersion and kind");
        let found = discovery::pinned_kind(&self.cluster.client, &kind).await;
        let (resource, _) = found.unwrap_or_else(|error| panic!("{what} is of no known kind: {error}"));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client.clone(), &self.name, &resource);
        let patched =
            api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await;
        patched.unwrap_or_else(|error| panic!("{what} is refused: {error}"));
    }
}
