//! Shard managers that are ready and don't answer.

use k8s_openapi::jiff::{Timestamp, ToSpan as _};

use super::*;

#[tokio::test]
async fn a_shard_manager_that_is_silent_for_long_is_told() {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    let deployment = "/apis/apps/v1/namespaces/prod/deployments/demo-manager";
    let mut ready = operator.server.get(deployment).unwrap();
    ready["status"] = json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2 });
    operator.server.put(deployment, ready);
    let at =
        |second: i64| -> crate::time::Clock { Arc::new(move || Timestamp::UNIX_EPOCH + second.seconds()) };
    for second in [0, 300] {
        operator.context.clock = at(second);
        operator.pass().await.unwrap();
    }
    assert_eq!(operator.condition("Degraded")["reason"], "Healthy", "there is nothing to answer yet");

    let mut founded = operator.server.get(RESOURCE).unwrap();
    founded["status"]["cluster"] = json!("0000000000000007");
    operator.server.put(RESOURCE, founded);
    operator.context.clock = at(600);
    operator.pass().await.unwrap();
    assert_ne!(operator.condition("Degraded")["reason"], "ShardManagerUnavailable", "not at once");
    operator.context.clock = at(900);
    operator.pass().await.unwrap();
    assert_eq!(operator.condition("Degraded")["reason"], "ShardManagerUnavailable");
}
