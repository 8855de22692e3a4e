//! `kubectl skv`: a person outside of the cluster names a namespace, and nothing else.

use serde_json::{Value, json};
use skv_e2e::{Namespace, Store, in_namespace, install_operator};

/// Returns what the plugin prints.
async fn printed(namespace: &Namespace, line: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = namespace.kubectl_skv(&arguments).await;
    assert!(output.succeeded, "kubectl skv {line}: {output:?}");
    output.stdout
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_plugin_finds_the_store_and_reaches_it_through_the_api_server() {
    in_namespace("plugin", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 1, "replicas": 3 })).await;

        printed(&namespace, "put greeting hello").await;
        assert_eq!(printed(&namespace, "get greeting").await, "hello");
        let status: Value = serde_json::from_str(&printed(&namespace, "status -o json").await).unwrap();
        assert_eq!(status["groups"][0]["replicas"].as_array().map(Vec::len), Some(3));
        assert!(printed(&namespace, "map").await.contains("g0"));

        let logs = printed(&namespace, "logs g0 --lines 1").await;
        for ordinal in 0..3 {
            assert!(logs.contains(&format!("==> {} <==", store.server(0, ordinal))), "{logs}");
        }
        let servers: Value = serde_json::from_str(&printed(&namespace, "top -o json").await).unwrap();
        let answering = servers.as_array().unwrap().iter().filter(|server| server["answering"] == true);
        assert_eq!(answering.count(), 3, "{servers}");

        let leader = store.leader(0).await;
        let other = (0..3).map(|ordinal| store.server(0, ordinal)).find(|server| *server != leader).unwrap();
        let transfer = format!("group transfer-leader g0 --to {other}");
        let mut said = printed(&namespace, &transfer).await;
        // Where elections are slow the third server may win one, and hands over once more.
        for _ in 0..5 {
            if !said.contains(&format!("led by {other}")) {
                said = printed(&namespace, &transfer).await;
            }
        }
        assert!(said.starts_with(&format!("g0 is led by {other}; before by ")), "{said}");

        let archive = std::env::temp_dir().join(format!("{}.tar.gz", namespace.name));
        let said = printed(&namespace, &format!("diag --file {}", archive.display())).await;
        let bytes = std::fs::metadata(&archive).unwrap().len();
        std::fs::remove_file(&archive).unwrap();
        assert!(bytes > 0);
        for file in ["status.json", "map.txt", "objects/Pod.json", "objects/Event.json"] {
            assert!(said.contains(file), "{file} is missing: {said}");
        }
        for file in [format!("logs/{other}.log"), format!("metrics/{other}.txt")] {
            assert!(said.contains(&file), "{file} is missing: {said}");
        }

        let unknown = namespace.kubectl_skv(&["status", "--store", "other"]).await;
        assert!(unknown.stderr.contains("has no store other: it has kv"), "{unknown:?}");
    })
    .await;
}
