//! Deleted objects are gone, and objects that are to stay stay.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Resource;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use skv_e2e::{Namespace, Store, eventually, in_namespace, install_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_deleted_resource_leaves_what_was_to_be_kept_and_finds_it_again() {
    in_namespace("deletion", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let spec = json!({ "groups": 1 });
        let store = Store::create(&namespace, spec.clone()).await;
        assert!(store.skv(&["put", "kept", "yes"]).await.succeeded);
        delete(&store).await;
        assert!(left(&namespace).await.is_some(), "the resource didn't wait for its objects");
        assert_eq!(count::<PersistentVolumeClaim>(&namespace).await, 3);

        let store = Store::create(&namespace, spec).await;
        assert_eq!(store.skv(&["get", "kept"]).await.stdout, "yes");
        store.change(json!({ "storage": { "whenDeleted": "Delete" } })).await;
        eventually("the claims belong to the StatefulSet", || async {
            let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.ok()?;
            claims.items.iter().all(|claim| claim.metadata.owner_references.is_some()).then_some(())
        })
        .await;
        delete(&store).await;
        assert!(left(&namespace).await.is_some(), "the resource didn't wait for its objects");
        let maps = namespace.kubectl(&["get", "shardmaps", "--output=name"]).await;
        assert!(maps.succeeded && maps.stdout.is_empty(), "{maps:?}");
        // Kubernetes makes them parts of the StatefulSet, which need not wait for them.
        eventually("no claim is left", || async {
            (count::<PersistentVolumeClaim>(&namespace).await == 0).then_some(())
        })
        .await;
    })
    .await;
}

/// Deletes a store in the foreground, and waits until its resource is gone, which waits for all its objects.
pub(super) async fn delete(store: &Store) {
    store.api().delete(&store.name, &DeleteParams::foreground()).await.expect("a resource can be deleted");
    eventually("the resource is gone", || async {
        store.api().get_opt(&store.name).await.ok()?.is_none().then_some(())
    })
    .await;
}

/// Returns `Some` if no object that serves is left.
pub(super) async fn left(namespace: &Namespace) -> Option<()> {
    let counts = [
        count::<StatefulSet>(namespace).await,
        count::<Deployment>(namespace).await,
        count::<Pod>(namespace).await,
        count::<Service>(namespace).await,
        count::<Role>(namespace).await,
        count::<RoleBinding>(namespace).await,
        // Every namespace has one service account of its own.
        count::<ServiceAccount>(namespace).await - 1,
    ];
    (counts == [0; 7]).then_some(())
}

/// Returns the number of objects of a kind.
pub(super) async fn count<K>(namespace: &Namespace) -> usize
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    namespace.api::<K>().list(&ListParams::default()).await.map_or(usize::MAX, |list| list.items.len())
}
