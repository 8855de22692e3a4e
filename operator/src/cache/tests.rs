//! The first lists, of which some may not come.

use futures::StreamExt as _;
use futures::stream::select_all;
use kube::ResourceExt;
use serde_json::json;
use skv_operator_plan::names::INSTANCE_LABEL;

use super::*;
use crate::testing::FakeApiServer;

#[tokio::test(start_paused = true)]
async fn a_kind_that_can_not_be_listed_is_named_until_it_can_be() {
    let (server, health) = (FakeApiServer::default(), Health::default());
    server.refuse("/namespaces/prod/pods", 403);
    let (cache, filling, changes) = Cache::watch(&server.client(), Some("prod"));
    let followed = select_all(changes.into_iter().map(|change| change.stream.boxed()));
    let test = async {
        let named = async {
            while health.lacks().is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(2 * FIRST_LIST, named).await.expect("it is named");
        assert_eq!(health.lacks(), ["pods in namespace prod"]);
        server.stop_refusing();
        // Any number may wait.
        join_all([cache.ready(), cache.ready(), cache.ready()]).await;
        assert_eq!(health.lacks(), [""; 0]);
    };
    let filled = async {
        filling.finish(&health).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = followed.for_each(|_| std::future::ready(())) => panic!("the watches ended"),
        () = filled => {}
        () = test => {}
    }
}

fn service(name: &str, resource: &str) -> DynamicObject {
    let kind = ApiResource::erase::<Service>(&());
    let mut object = DynamicObject::new(name, &kind).within("prod").data(json!({}));
    object.labels_mut().insert(INSTANCE_LABEL.to_owned(), resource.to_owned());
    object.types = None;
    object
}

fn services_of(cache: &Cache, resource: &str) -> Vec<String> {
    let names = Names { resource: resource.to_owned(), namespace: "prod".to_owned() };
    cache.of::<Service>(&names).iter().map(ResourceExt::name_any).collect()
}

#[test]
fn the_objects_of_a_resource_follow_the_watch() {
    let (cache, feeds) = Cache::written();
    let mut feeds = feeds.into_iter();
    let (_, services) = feeds.find(|(kind, _)| kind.kind == "Service").unwrap();
    for (name, resource) in [("b", "kv"), ("a", "kv"), ("c", "other")] {
        services.show(watcher::Event::Apply(service(name, resource)));
    }
    assert_eq!(services_of(&cache, "kv"), ["a", "b"]);
    assert_eq!(services_of(&cache, "other"), ["c"]);

    services.show(watcher::Event::Delete(service("a", "kv")));
    services.show(watcher::Event::Apply(service("b", "other")));
    assert_eq!(services_of(&cache, "kv"), [""; 0]);
    assert_eq!(services_of(&cache, "other"), ["b", "c"]);

    // A watch that begins again lists what is there: the rest is gone.
    services.show(watcher::Event::Init);
    services.show(watcher::Event::InitApply(service("d", "kv")));
    assert_eq!(services_of(&cache, "kv"), [""; 0]);
    services.show(watcher::Event::InitDone);
    assert_eq!(services_of(&cache, "kv"), ["d"]);
    assert_eq!(services_of(&cache, "other"), [""; 0]);
}
