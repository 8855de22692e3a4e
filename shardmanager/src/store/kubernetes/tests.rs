//! A `ShardMap` in an API server that knows nothing else.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use skv_sharding::MapRevision;

use super::*;
use crate::testing::sample_record;

/// The object, if it is there.
type Stored = Arc<Mutex<Option<Value>>>;

fn empty() -> Stored {
    let metadata = json!({
        "name": "demo", "namespace": "prod", "resourceVersion": "1", "labels": { "kept": "yes" },
    });
    Arc::new(Mutex::new(Some(json!({
        "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardMap", "metadata": metadata,
    }))))
}

fn store(stored: &Stored) -> KubernetesStore {
    let stored = Arc::clone(stored);
    let service = tower::service_fn(move |request: Request<Body>| {
        let stored = Arc::clone(&stored);
        async move {
            let (head, body) = request.into_parts();
            let body: Bytes = body.collect().await.unwrap().to_bytes();
            assert_eq!(head.uri.path(), "/apis/shardedkv.io/v1alpha1/namespaces/prod/shardmaps/demo");
            let (code, answer) = answer(&mut stored.lock(), &head.method, &body);
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    KubernetesStore::new(Client::new(service, "default"), "prod/demo".parse().unwrap())
}

fn answer(stored: &mut Option<Value>, method: &Method, body: &[u8]) -> (u16, Value) {
    let failure = |code| {
        let reason = if code == 404 { "NotFound" } else { "Conflict" };
        (code, json!({ "status": "Failure", "code": code, "message": "", "reason": reason }))
    };
    let Some(object) = stored else { return failure(404) };
    if method == Method::GET {
        return (200, object.clone());
    }
    let mut new: Value = serde_json::from_slice(body).unwrap();
    let version = object["metadata"]["resourceVersion"].clone();
    if new["metadata"]["resourceVersion"] != version {
        return failure(409);
    }
    let next = version.as_str().unwrap().parse::<u64>().unwrap() + 1;
    new["metadata"]["resourceVersion"] = json!(next.to_string());
    *object = new.clone();
    (200, new)
}

fn revision(n: u64) -> Record {
    Record { revision: MapRevision(n), ..sample_record() }
}

#[tokio::test]
async fn a_record_is_read_as_it_was_written_and_the_rest_of_the_object_stays() {
    let stored = empty();
    let store = store(&stored);
    assert!(store.load().await.unwrap().is_none());
    let first = store.compare_and_swap(None, &revision(1)).await.unwrap();
    let second = store.compare_and_swap(Some(&first), &revision(2)).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some((revision(2), second)));
    let object = stored.lock().clone().unwrap();
    assert_eq!(object["metadata"]["labels"]["kept"], "yes");
    assert_eq!((&object["format"], &object["record"]["revision"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn only_who_knows_the_newest_record_replaces_it() {
    let stored = empty();
    let (a, b) = (store(&stored), store(&stored));
    let first = a.compare_and_swap(None, &revision(1)).await.unwrap();
    b.compare_and_swap(Some(&first), &revision(2)).await.unwrap();
    for stale in [None, Some(&first)] {
        let refused = a.compare_and_swap(stale, &revision(3)).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    }
    assert_eq!(a.load().await.unwrap().unwrap().0, revision(2));
}

#[tokio::test]
async fn an_object_that_is_missing_is_no_record_and_is_not_made() {
    let stored: Stored = Arc::default();
    let store = store(&stored);
    assert!(store.load().await.unwrap().is_none());
    let refused = store.compare_and_swap(None, &revision(1)).await;
    assert!(matches!(refused, Err(StoreError::Missing { .. })), "{refused:?}");
    assert_eq!(*stored.lock(), None);
}

#[tokio::test]
async fn what_is_no_record_is_named_and_not_overwritten() {
    let stored = empty();
    let store = store(&stored);
    stored.lock().as_mut().unwrap()["format"] = json!(1);
    stored.lock().as_mut().unwrap()["record"] = json!({ "revision": 1 });
    let error = store.load().await.unwrap_err();
    assert!(error.to_string().starts_with("ShardMap prod/demo is damaged: it isn't a record"), "{error}");
    assert!(matches!(store.compare_and_swap(None, &revision(1)).await, Err(StoreError::Conflict)));
    stored.lock().as_mut().unwrap()["format"] = json!(2);
    let error = store.load().await.unwrap_err();
    assert!(matches!(error, StoreError::UnsupportedVersion { found: 2, .. }), "{error}");
}
