//! The charts, as helm sees them.

use skv_e2e::{Rendered, in_namespace, in_project};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn charts_are_flawless_and_a_wrong_value_is_refused_with_its_path() {
    in_namespace("values", |namespace| async move {
        let (operator, definitions) = (in_project("charts/shardedkv"), in_project("charts/shardedkv-crds"));
        let linted = namespace.helm(&["lint", "--strict", &operator, &definitions]).await;
        assert!(linted.succeeded, "{linted:?}");
        for (chart, value, complaint) in [
            (&operator, "replicas=0", "at '/replicas': minimum: got 0, want 1"),
            (&operator, "replicas=two", "at '/replicas': got string, want integer"),
            (&operator, "replica=3", "at '': additional properties 'replica' not allowed"),
            (&operator, "image.tga=v1", "at '/image': additional properties 'tga' not allowed"),
            (&operator, "image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
            (&operator, "watchNamespaces={a,B}", "at '/watchNamespaces/1': 'B' does not match pattern"),
            (&operator, "extraEnv[0].value=x", "at '/extraEnv/0': missing property 'name'"),
            (&operator, "deletionProtection=true", "at '/deletionProtection': got boolean, want object"),
            (&operator, "logFormat=xml", "at '/logFormat': value must be one of 'text', 'json'"),
            (&operator, "sample.name=My_Sample", "at '/sample/name': 'My_Sample' does not match pattern"),
            (&definitions, "keep=maybe", "at '/keep': got string, want boolean"),
        ] {
            let set = format!("--set={value}");
            let refused = namespace.helm(&["install", "refused", chart, "--dry-run=client", &set]).await;
            assert!(!refused.succeeded && refused.stderr.contains(complaint), "{value}: {refused:?}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn an_image_is_taken_by_its_digest_for_operators_and_for_stores_that_name_none() {
    in_namespace("digests", |namespace| async move {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let chosen = format!("image.digest={digest}");
        let settings = ["image.repository=r/skv", "image.tag=v1", &chosen];
        let rendered = Rendered::with(&namespace, &settings).await;
        let pod = &rendered.of_kind("Deployment")[0]["spec"]["template"]["spec"];
        let operator = &pod["containers"][0];
        assert_eq!(operator["image"], format!("r/skv@{digest}"));
        let of_stores = serde_json::json!(format!("--image=r/skv@{digest}"));
        let arguments = operator["args"].as_array().expect("arguments");
        assert!(arguments.contains(&of_stores), "{arguments:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn an_operator_of_some_namespaces_has_no_right_to_change_others() {
    in_namespace("rights", |namespace| async move {
        let rendered = Rendered::with(&namespace, &["watchNamespaces={blue,green}"]).await;
        // The others are parts of the roles of people.
        let bound = &rendered.of_kind("ClusterRoleBinding")[0]["roleRef"]["name"];
        let cluster_wide =
            rendered.of_kind("ClusterRole").into_iter().filter(|role| role["metadata"]["name"] == *bound);
        for rule in cluster_wide.flat_map(|role| role["rules"].as_array().expect("rules")) {
            // Nodes and volumes are of no namespace.
            let verbs = match rule["resources"][0].as_str() {
                Some("nodes") => serde_json::json!(["get", "list", "watch"]),
                Some("persistentvolumes") => serde_json::json!(["get", "patch"]),
                _ => serde_json::json!([]),
            };
            assert_eq!(rule["verbs"], verbs, "{rule}");
            assert_eq!(rule["resources"].as_array().map(Vec::len), Some(1), "{rule}");
        }
        for namespace in ["blue", "green"] {
            for kind in ["Role", "RoleBinding"] {
                let found = rendered
                    .of_kind(kind)
                    .iter()
                    .filter(|role| role["metadata"]["namespace"] == namespace)
                    .count();
                assert_eq!(found, 1, "{kind} in {namespace}");
            }
        }
        let narrow = ["watchNamespaces={blue}", "rbac.clusterScoped=false", "rbac.aggregate=false"];
        let rendered = Rendered::with(&namespace, &narrow).await;
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            assert!(rendered.of_kind(kind).is_empty(), "{kind}");
        }
        assert_eq!(rendered.of_kind("Role").len(), 2, "its namespace, and the Lease");
    })
    .await;
}
