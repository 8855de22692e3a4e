//! The steps of the runbooks, tried on a store that works: a person who is woken at night can't mend them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use skv_e2e::{Namespace, Output, Store, eventually, in_namespace, in_project, install_operator};
use skv_scratch::Directory;

/// Returns the code of all pages that calls kubectl. It may go on in the next line of a page.
fn commands() -> BTreeSet<String> {
    let pages = fs::read_dir(in_project("docs/runbooks")).expect("the runbooks can be listed");
    let texts = pages.map(|page| fs::read_to_string(page.expect("a page").path()).expect("a page is text"));
    let code = texts.flat_map(|text| {
        let code = text.split('`').skip(1).step_by(2);
        code.map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    });
    code.filter(|code| code.starts_with("kubectl ")).collect()
}

/// Runs a line of a runbook.
async fn run(namespace: &Namespace, line: &str) -> Output {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    match words[..] {
        ["skv", ref arguments @ ..] => namespace.kubectl_skv(arguments).await,
        _ => namespace.kubectl(&words).await,
    }
}

/// Runs a line that must succeed.
async fn take(namespace: &Namespace, line: &str) {
    let output = run(namespace, line).await;
    assert!(output.succeeded, "{line}: {output:?}");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_steps_of_the_runbooks_can_be_taken() {
    in_namespace("runbooks", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 2, "replicas": 3 })).await;
        let (server, files) = (store.server(0, 0), Directory::new().expect("a directory can be made"));
        let diag = format!("skv diag --file {}", files.path().join("diag.tar.gz").display());
        let commands = commands();
        assert!(commands.len() > 15, "{commands:?}");
        let lines = commands.iter().map(|command| {
            command
                // The tests' own call names the namespace already.
                .replace(" -n NAMESPACE", "")
                .replace("STORE", &store.name)
                .replace("GROUP", "g0")
                .replace("SHARD", "0")
                .replace("POD", &server)
                .replace("skv diag", &diag)
        });
        let (deletions, others): (Vec<String>, Vec<String>) =
            lines.partition(|line| line.starts_with("kubectl delete "));
        for line in &others {
            let output = run(&namespace, line).await;
            // A group that has a quorum isn't reset.
            let refused = line.contains("group reset") && !output.stderr.contains("Usage:");
            assert!(output.succeeded || refused, "{line}: {output:?}");
        }
        assert!(!deletions.is_empty(), "{commands:?}");
        // The others are about servers that run.
        for line in &deletions {
            take(&namespace, line).await;
            namespace.ready_pods(&store.servers_label(), 6).await;
        }
        give_a_name_back(&store).await;
        lose_the_record(&store).await;
    })
    .await;
}

/// Takes the shard manager's rights away, and gives their name to an object of somebody else: once that is gone too,
/// the operator makes them again.
async fn give_a_name_back(store: &Store) {
    let namespace = &store.namespace;
    // Else the operator would have its own Role there before the other one.
    store.change(json!({ "paused": true })).await;
    store.says("Progressing", "Paused").await;
    take(namespace, "kubectl delete role,rolebinding kv-manager").await;
    take(namespace, "kubectl create role kv-manager --verb=get --resource=pods").await;
    store.change(json!({ "paused": null })).await;
    store.says("Progressing", "ApplyFailed").await;
    take(namespace, "kubectl delete role kv-manager").await;
    // Without it the operator would look again in half a minute.
    take(namespace, "kubectl annotate skv kv role=deleted").await;
    store.complete().await;
    take(namespace, "kubectl get role,rolebinding kv-manager").await;
}

/// Deletes the shard manager's record: it is rebuilt from the groups, and shards move.
async fn lose_the_record(store: &Store) {
    let namespace = &store.namespace;
    let before = store.complete().await;
    take(namespace, "kubectl delete shardmap kv").await;
    eventually("the record is rebuilt", || async {
        let revision = ["get", "shardmap", "kv", "--output=jsonpath={.record.revision}"];
        let found = namespace.kubectl(&revision).await;
        (found.succeeded && !found.stdout.is_empty()).then_some(())
    })
    .await;
    // The command may reach a shard manager that hasn't seen it yet.
    eventually("a shard can be moved", || async {
        let moved = namespace.kubectl_skv(&["shard", "move", "0", "g1"]).await;
        moved.succeeded.then_some(())
    })
    .await;
    let after = store.complete().await;
    assert_eq!(after["status"]["cluster"], before["status"]["cluster"], "nothing was founded again");
}
