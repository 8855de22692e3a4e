//! Resources that are deleted while no operator runs are gone as well.

use serde_json::json;
use skv_e2e::{Store, in_namespace, install_operator, remove_operator};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_namespace_goes_whether_the_operator_is_there_or_not() {
    // Every test here ends with the deletion of its namespace; this one has no operator meanwhile.
    let cluster = skv_e2e::Cluster::connect().await;
    install_operator(&cluster).await;
    in_namespace("no-operator", |namespace| async move {
        Store::create(&namespace, json!({ "groups": 1, "replicas": 1 })).await;
        remove_operator(&namespace.cluster).await;
    })
    .await;
    install_operator(&cluster).await;
}
