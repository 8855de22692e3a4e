//! The commands of the runbooks, tried on a store that works: a person who is woken at night can't mend them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use skv_e2e::{Namespace, Output, Store, in_namespace, in_project, install_operator};
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

/// Runs a line of a runbook, without what it would delete.
async fn run(namespace: &Namespace, line: &str) -> Output {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    match words[..] {
        ["skv", ref arguments @ ..] => namespace.kubectl_skv(arguments).await,
        ["delete", ..] => namespace.kubectl(&[&words[..], &["--dry-run=server"]].concat()).await,
        _ => namespace.kubectl(&words).await,
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_commands_of_the_runbooks_can_be_run() {
    in_namespace("runbooks", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": 2, "replicas": 3 })).await;
        let (server, files) = (store.server(0, 0), Directory::new().expect("a directory can be made"));
        let diag = format!("skv diag --file {}", files.path().join("diag.tar.gz").display());
        let commands = commands();
        assert!(commands.len() > 15, "{commands:?}");
        for command in &commands {
            let line = command
                // The tests' own call names the namespace already.
                .replace(" -n NAMESPACE", "")
                .replace("STORE", &store.name)
                .replace("GROUP", "g0")
                .replace("SHARD", "0")
                .replace("POD", &server)
                .replace("skv diag", &diag);
            let output = run(&namespace, &line).await;
            // A group that has a quorum isn't reset.
            let refused = line.contains("group reset") && !output.stderr.contains("Usage:");
            assert!(output.succeeded || refused, "{line}: {output:?}");
        }
    })
    .await;
}
