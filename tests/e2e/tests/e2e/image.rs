//! The image as such, without the operator: its programs run as restricted pods, find each
//! other, and keep their data.

use std::collections::HashSet;

use skv_e2e::in_namespace;

const SKV: [&str; 2] = ["skv", "--manager=kv-manager:7400"];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn servers_find_each_other_by_srv_records_and_keep_data_when_a_pod_is_replaced() {
    in_namespace("image", |namespace| async move {
        namespace.apply(include_str!("../../manifests/one-group.yaml")).await;
        let pods = namespace.ready_pods("app=kv-g0", 3).await;
        let nodes: HashSet<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
        assert_eq!(nodes.len(), 3, "the group is spread over {nodes:?}");

        let put = namespace.run("put", &[SKV[0], SKV[1], "put", "greeting", "hello"]).await;
        assert!(put.succeeded, "{put:?}");
        let get = [SKV[0], SKV[1], "get", "greeting"];
        let got = namespace.exec("kv-g0-0", &get).await;
        assert_eq!((got.stdout.as_str(), got.succeeded), ("hello", true), "{got:?}");
        let nothing = namespace.exec("kv-g0-0", &[SKV[0], SKV[1], "get", "nothing"]).await;
        assert!(!nothing.succeeded, "{nothing:?}");

        // Whoever leads is among them.
        for pod in ["kv-g0-0", "kv-g0-1", "kv-g0-2"] {
            namespace.replace_pod(pod).await;
            let got = namespace.exec(pod, &get).await;
            assert_eq!(
                (got.stdout.as_str(), got.succeeded),
                ("hello", true),
                "after {pod} was replaced: {got:?}"
            );
        }
        namespace.replace_pod("kv-manager-0").await;
        let got = namespace.run("get", &get).await;
        assert_eq!((got.stdout.as_str(), got.succeeded), ("hello", true), "{got:?}");
    })
    .await;
}
