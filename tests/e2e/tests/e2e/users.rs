//! Pods under a user that the platform chooses, as OpenShift does for each namespace.

use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use skv_e2e::{Namespace, Store, eventually, in_namespace, install_operator};

/// The users of the namespace, as OpenShift gives each namespace its own: no image knows them.
const USERS: RangeInclusive<i64> = USER..=1_000_689_999;
/// The user of pods that name none.
const USER: i64 = 1_000_680_000;
/// The user that the image names.
const USER_OF_THE_IMAGE: i64 = 65532;
/// The reason for which pods under other users are refused.
const REFUSAL: &str = "isn't one of the namespace's";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_store_that_names_no_user_serves_under_the_one_that_the_platform_assigns() {
    in_namespace("users", |namespace| async move {
        install_operator(&namespace.cluster).await;
        give_users(&namespace).await;
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

/// Has the API server give the pods of a namespace that name no user one of the namespace's, with its group, and
/// refuse those under others.
async fn give_users(namespace: &Namespace) {
    let (name, cluster) = (&namespace.name, &namespace.cluster);
    let namespaces: Api<v1::Namespace> = Api::all(cluster.client.clone());
    let uid = namespaces.get(name).await.expect("the namespace is there").metadata.uid;
    let policy = format!("{name}-users");
    // They go with the namespace.
    let metadata = json!({
        "name": policy,
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": name, "uid": uid }],
    });
    let bound = json!({ "policyName": policy });
    let bound_to_refuse = json!({ "policyName": policy, "validationActions": ["Deny"] });
    for (kind, spec) in [
        ("MutatingAdmissionPolicy", assigning(name)),
        ("MutatingAdmissionPolicyBinding", bound),
        ("ValidatingAdmissionPolicy", refusing(name)),
        ("ValidatingAdmissionPolicyBinding", bound_to_refuse),
    ] {
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec,
        });
        cluster.apply(&object.to_string(), "").await;
    }
    eventually("the API server assigns users, and refuses others", || async {
        let assigned = dry_run(namespace, None).await.ok()?;
        let refusal = dry_run(namespace, Some(USER_OF_THE_IMAGE)).await.err()?.to_string();
        (user(&assigned) == Some(USER) && refusal.contains(REFUSAL)).then_some(())
    })
    .await;
}

/// Returns a policy that assigns the user and its group to pods that name neither.
fn assigning(namespace: &str) -> Value {
    let context = format!("Object.spec.securityContext{{runAsUser: {USER}, fsGroup: {USER}}}");
    let names = |field: &str| format!("has(object.spec.securityContext.{field})");
    json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": new_pods(namespace),
        "matchConditions": [{
            "name": "names-none",
            "expression": format!("!{} && !{}", names("runAsUser"), names("fsGroup")),
        }],
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {
                "expression": format!("Object{{spec: Object.spec{{securityContext: {context}}}}}"),
            },
        }],
    })
}

/// Returns a policy that refuses pods whose user or groups aren't the namespace's.
fn refusing(namespace: &str) -> Value {
    let (first, last) = (*USERS.start(), *USERS.end());
    let is_ours = |field: &str| format!("!has({field}) || ({field} >= {first} && {field} <= {last})");
    let pod = "object.spec.securityContext";
    let own = "container.securityContext";
    let of_container = format!("!has({own}) || {}", is_ours(&format!("{own}.runAsUser")));
    let rules = [
        // Such a pod would run under the user of its image.
        ("a user without a number", format!("has({pod}.runAsUser) && has({pod}.fsGroup)")),
        ("runAsUser", is_ours(&format!("{pod}.runAsUser"))),
        ("runAsGroup", is_ours(&format!("{pod}.runAsGroup"))),
        ("fsGroup", is_ours(&format!("{pod}.fsGroup"))),
        ("a container's runAsUser", format!("object.spec.containers.all(container, {of_container})")),
    ];
    let rule = |(subject, expression): (&str, String)| {
        let message = format!("{subject} {REFUSAL}");
        json!({ "expression": expression, "message": message })
    };
    json!({
        "failurePolicy": "Fail",
        "matchConstraints": new_pods(namespace),
        "validations": rules.map(rule),
    })
}

/// Returns the requests by which pods of a namespace are made.
fn new_pods(namespace: &str) -> Value {
    json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
        "resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
        }],
    })
}

/// Returns a pod, which names this user and its group or none, as the API server would make it.
async fn dry_run(namespace: &Namespace, user: Option<i64>) -> kube::Result<Pod> {
    let pod = json!({
        "metadata": { "name": "nobody" },
        "spec": {
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": user, "fsGroup": user,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
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
    namespace.api::<Pod>().create(&parameters, &pod).await
}

fn user(pod: &Pod) -> Option<i64> {
    pod.spec.as_ref()?.security_context.as_ref()?.run_as_user
}
