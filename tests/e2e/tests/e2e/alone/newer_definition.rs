//! Definitions of another version than the operator's: a newer one, since it is to be updated first, and an
//! older one, where the operator was; and statuses of a newer operator, which an older one finds when it is put back.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use skv_e2e::{
    Load, Namespace, Store, condition, eventually, in_namespace, install_operator, remove_operator,
    start_operator,
};

const DEFINITION: &str = "shardedkvs.shardedkv.io";
/// Fields of the specification that an older definition lacks.
const LATER_IN_SPEC: [&str; 3] = ["colour", "podTemplate", "replacement"];
/// Fields of the status that an older definition lacks.
const LATER_IN_STATUS: [&str; 5] = ["accepted", "heldEvictions", "lost", "replaced", "weather"];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn an_operator_that_is_older_or_newer_than_the_definition_rolls_a_store_all_the_same() {
    in_namespace("newer", |namespace| async move {
        let cluster = &namespace.cluster;
        install_operator(cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1 })).await;
        redefine(&namespace, |properties| {
            let colour = json!({ "type": "string", "default": "red" });
            properties["spec"]["properties"]["colour"] = colour;
            properties["status"]["properties"]["weather"] = json!({ "type": "string" });
        })
        .await;
        start_operator(cluster, &cluster.next_image).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        // Each resource has the field by now, as the API server shows it.
        store.change(json!({ "image": { "name": cluster.next_image } })).await;
        let resource = store.says("Valid", "UnknownFields").await;
        assert_eq!(resource["spec"]["colour"], "red");
        eventually("a pod is being replaced", || async {
            store.get().await["status"]["replacing"]["pod"].is_string().then_some(())
        })
        .await;
        remove_operator(cluster).await;
        write_newer_status(&store).await;
        start_operator(cluster, &cluster.image).await;
        store.complete().await;
        load.recorder.more_acknowledged(50).await;
        load.finish_right(&store).await;

        // Going back is as good, even to a definition that is older than the operator, and amid a rollout.
        store.change(json!({ "image": { "name": cluster.image } })).await;
        store.says("Progressing", "Changing").await;
        redefine(&namespace, |properties| {
            remove(&mut properties["spec"]["properties"], &LATER_IN_SPEC);
            remove(&mut properties["status"]["properties"], &LATER_IN_STATUS);
        })
        .await;
        store.says("Valid", "Valid").await;
        let resource = store.complete().await;
        assert_eq!(resource["spec"]["replacement"], Value::Null, "the API server forgets such fields");

        install_operator(cluster).await;
        let resource = eventually("the API server knows all fields again", || async {
            Some(store.get().await).filter(|resource| resource["spec"]["replacement"].is_object())
        })
        .await;
        assert_eq!(resource["spec"]["colour"], Value::Null);
        store.complete().await;
    })
    .await;
}

/// Writes a status as a newer operator would amid a roll: with a field, a condition and an accepted specification of
/// which the older one doesn't know all.
async fn write_newer_status(store: &Store) {
    let mut resource = store.get().await;
    assert_ne!(condition(&resource, "Progressing"), Some(("False", "Complete")), "the roll goes on");
    let status = &mut resource["status"];
    status["weather"] = json!("fair");
    status["accepted"]["colour"] = json!("red");
    let conditions = status["conditions"].as_array_mut().expect("a status has conditions");
    let mut later = conditions[0].clone();
    later["type"] = json!("Forecast");
    conditions.push(later);
    let patch = Patch::Merge(json!({ "status": status }));
    let written = store.api().patch_status(&store.name, &PatchParams::default(), &patch).await;
    let written = written.expect("a status can be written").data;
    assert!(condition(&written, "Forecast").is_some(), "{written}");
    assert_eq!(written["status"]["weather"], "fair");
    assert_eq!(written["status"]["accepted"]["colour"], "red");
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
