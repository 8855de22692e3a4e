//! Groups that get fewer servers.

use super::*;

#[tokio::test]
async fn a_group_shrinks_once_the_shard_manager_wants_no_more_servers() {
    let mut scene = Scene::running(1, "Retain").await;
    let servers = |scene: &Scene| scene.set(0).unwrap()["spec"]["replicas"].clone();
    scene.change("replicas", json!(3));
    scene.pass().await;
    assert_eq!(servers(&scene), 3);
    // No server has joined yet. A shard manager that is rolled out, and wants three, may have one join at any time.
    scene.change("replicas", json!(1));
    scene.pass().await;
    assert_eq!(servers(&scene), 3);
    // Now it wants one.
    scene.pass().await;
    assert_eq!(servers(&scene), 1);
}
