//! The operator, installed as a person without helm does it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, discovery};
use serde_json::json;

use crate::{Cluster, eventually};

/// The namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "skv-operator";

const DEFINITIONS: [&str; 2] = [
    include_str!("../../../deploy/crds/shardedkvs.yaml"),
    include_str!("../../../deploy/crds/shardmaps.yaml"),
];
const OPERATOR: &str = include_str!("../../../deploy/operator/operator.yaml");
/// The image in its manifest.
const DEFAULT_IMAGE: &str = concat!("shardedkv:", env!("CARGO_PKG_VERSION"));

/// Installs the operator unless it is there, and waits until it is ready. It serves all tests.
pub async fn install_operator(cluster: &Cluster) {
    for definition in DEFINITIONS {
        cluster.apply(definition, "").await;
    }
    let ours = GroupVersionKind::gvk("shardedkv.io", "v1alpha1", "ShardedKV");
    eventually("the API server knows our resources", || async {
        discovery::pinned_kind(&cluster.client, &ours).await.ok()
    })
    .await;
    start_operator(cluster, &cluster.image).await;
}

/// Has the operator run this image, and waits until it is ready. Its definitions stay as they are.
pub async fn start_operator(cluster: &Cluster, image: &str) {
    assert!(OPERATOR.contains(DEFAULT_IMAGE), "the manifest's image is the default one");
    cluster.apply(&OPERATOR.replace(DEFAULT_IMAGE, image), OPERATOR_NAMESPACE).await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    eventually("the operator is ready", || async {
        let deployment = deployments.get("skv-operator").await.ok()?;
        let (wanted, status) = (deployment.spec?.replicas, deployment.status?);
        let ready = status.ready_replicas == wanted && status.updated_replicas == wanted;
        (ready && status.observed_generation == deployment.metadata.generation).then_some(())
    })
    .await;
}

/// Removes it if it is there, but not its definitions. [`start_operator`] brings it back.
pub async fn remove_operator(cluster: &Cluster) {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    let none = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments.patch("skv-operator", &PatchParams::default(), &none).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return,
        scaled => scaled.expect("the operator can be scaled"),
    };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    eventually("the operator is gone", || async {
        pods.list(&ListParams::default()).await.is_ok_and(|pods| pods.items.is_empty()).then_some(())
    })
    .await;
}
