//! Definitions of another version than the operator's: a newer one, since it is to be updated first, and an
//! older one, where the operator was.

use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use skv_e2e::{Namespace, Store, eventually, in_namespace, install_operator};

const DEFINITION: &str = "shardedkvs.shardedkv.io";
/// Fields of the specification that an older definition lacks.
const LATER_IN_SPEC: [&str; 3] = ["colour", "podTemplate", "replacement"];
/// Fields of the status that an older definition lacks.
const LATER_IN_STATUS: [&str; 4] = ["accepted", "heldEvictions", "lost", "replaced"];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn an_operator_that_is_older_or_newer_than_the_definition_rolls_a_store_all_the_same() {
    in_namespace("newer", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        redefine(&namespace, |properties| {
            let colour = json!({ "type": "string", "default": "red" });
            properties["spec"]["properties"]["colour"] = colour;
        })
        .await;

        // Each resource has the field by now, as the API server shows it.
        store.change(json!({ "image": { "name": namespace.cluster.next_image } })).await;
        let resource = store.says("Valid", "UnknownFields").await;
        assert_eq!(resource["spec"]["colour"], "red");
        store.complete().await;

        // Going back is as good, even to a definition that is older than the operator, and amid a rollout.
        store.change(json!({ "image": { "name": namespace.cluster.image } })).await;
        store.says("Progressing", "Changing").await;
        redefine(&namespace, |properties| {
            remove(&mut properties["spec"]["properties"], &LATER_IN_SPEC);
            remove(&mut properties["status"]["properties"], &LATER_IN_STATUS);
        })
        .await;
        store.says("Valid", "Valid").await;
        let resource = store.complete().await;
        assert_eq!(resource["spec"]["replacement"], Value::Null, "the API server forgets such fields");

        install_operator(&namespace.cluster).await;
        let resource = eventually("the API server knows all fields again", || async {
            Some(store.get().await).filter(|resource| resource["spec"]["replacement"].is_object())
        })
        .await;
        assert_eq!(resource["spec"]["colour"], Value::Null);
        store.complete().await;
    })
    .await;
}

/// Changes the properties that the definition of our resource describes.
async fn redefine(namespace: &Namespace, change: impl Fn(&mut Value)) {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> =
        Api::all_with(namespace.cluster.client.clone(), &ApiResource::from_gvk(&kind));
    eventually("the definition is replaced", || async {
        let mut other = definitions.get(DEFINITION).await.ok()?;
        change(&mut other.data["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
        other.metadata.managed_fields = None;
        definitions.replace(DEFINITION, &PostParams::default(), &other).await.ok()
    })
    .await;
}

fn remove(properties: &mut Value, names: &[&str]) {
    let properties = properties.as_object_mut().expect("a schema describes properties");
    properties.retain(|name, _| !names.contains(&name.as_str()));
}
