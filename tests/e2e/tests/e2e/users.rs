//! Pods under a user that the platform chooses, as OpenShift does for each namespace.

use k8s_openapi::api::core::v1;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use skv_e2e::{Namespace, Store, eventually, in_namespace, install_operator};

/// A user of a range as OpenShift gives them out: no image knows it.
const USER: i64 = 1_000_680_000;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_store_that_names_no_user_serves_under_the_one_that_the_platform_assigns() {
    in_namespace("users", |namespace| async move {
        install_operator(&namespace.cluster).await;
        assign(&namespace).await;
        let store = Store::create(&namespace, json!({ "groups": 1, "podSecurityContext": {} })).await;
        for (name, pod) in store.pods(0).await {
            assert_eq!(user(&pod), Some(USER), "{name}");
        }
        let managers = namespace.ready_pods_now(&store.managers_label()).await;
        for pod in managers.expect("pods can be listed") {
            assert_eq!(user(&pod), Some(USER), "a shard manager");
        }
        let put = store.skv(&["put", "greeting", "hello"]).await;
        assert!(put.succeeded, "{put:?}");

        // Its successor reads the files.
        namespace.replace_pod(&store.leader(0).await).await;
        store.complete().await;
        assert_eq!(store.skv(&["get", "greeting"]).await.stdout, "hello");
    })
    .await;
}

/// Has the API server give all pods of a namespace the user and its group.
async fn assign(namespace: &Namespace) {
    let (name, cluster) = (&namespace.name, &namespace.cluster);
    let namespaces: Api<v1::Namespace> = Api::all(cluster.client.clone());
    let uid = namespaces.get(name).await.expect("the namespace is there").metadata.uid;
    // They go with the namespace.
    let metadata = json!({
        "name": format!("{name}-users"),
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": name, "uid": uid }],
    });
    let context = format!("Object.spec.securityContext{{runAsUser: {USER}, fsGroup: {USER}}}");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }],
            },
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": format!("Object{{spec: Object.spec{{securityContext: {context}}}}}"),
                },
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": { "policyName": format!("{name}-users") },
    });
    cluster.apply(&policy.to_string(), "").await;
    cluster.apply(&binding.to_string(), "").await;
    eventually("the API server assigns users", || async {
        (user(&dry_run(namespace).await?) == Some(USER)).then_some(())
    })
    .await;
}

/// Returns a pod as the API server would make it.
async fn dry_run(namespace: &Namespace) -> Option<Pod> {
    let pod = json!({
        "metadata": { "name": "nobody" },
        "spec": {
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "nobody",
                "image": namespace.cluster.image,
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    namespace.api::<Pod>().create(&parameters, &pod).await.ok()
}

fn user(pod: &Pod) -> Option<i64> {
    pod.spec.as_ref()?.security_context.as_ref()?.run_as_user
}
