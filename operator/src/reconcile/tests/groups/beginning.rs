//! Groups that are made before the shard manager has its first configuration.

use super::*;

#[tokio::test]
async fn a_group_that_could_not_be_made_is_made_though_the_store_has_become_smaller_since() {
    let mut operator = Operator::new(json!({ "groups": 3, "replicas": 1 }));
    operator.server.refuse("/statefulsets/demo-g1", 503);
    operator.pass().await.unwrap_err();
    let is_made = |operator: &Operator, group: u32| {
        let path = format!("/apis/apps/v1/namespaces/prod/statefulsets/demo-g{group}");
        operator.server.get(&path).is_some()
    };
    assert_eq!([0, 1, 2].map(|group| is_made(&operator, group)), [true, false, true]);
    operator.server.stop_refusing();
    operator.set_spec(json!({ "groups": 2, "replicas": 1 }));
    operator.pass().await.unwrap();
    // The shard manager of two groups waits for g0 and g1.
    assert_eq!([0, 1, 2].map(|group| is_made(&operator, group)), [true, true, true]);
}
