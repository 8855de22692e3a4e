//! An API server in memory for tests: objects by their path, server-side apply as a merge,
//! compare-and-swap by `resourceVersion`, and a list of the requests that were made.
//! Beside it the other things that several tests need.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{ApiResource, DynamicObject};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use skv_proto::v1;
use skv_resource::ShardedKvSpec;

use crate::cache::Cache;
use skv_operator_plan::build::{Input, Users};
use skv_operator_plan::names::{MANAGED_BY_LABEL, MANAGER, Names};
use skv_operator_plan::observed::Observed;
use skv_operator_plan::resolved::Resolved;

/// An API server; clones share one.
#[derive(Clone, Default)]
pub(crate) struct FakeApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
    refusals: Vec<(String, u16)>,
}

impl FakeApiServer {
    /// Returns a client of it.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object there, as another program would.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut state = self.0.lock();
        let object = state.stored(object);
        state.objects.insert(path.to_owned(), object);
    }

    /// Removes the object at a path.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().objects.remove(path);
    }

    /// Returns the object at a path.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().objects.get(path).cloned()
    }

    /// Returns all objects by their paths.
    pub(crate) fn objects(&self) -> BTreeMap<String, Value> {
        self.0.lock().objects.clone()
    }

    /// Refuses every request whose path ends in this text, with this code.
    pub(crate) fn refuse(&self, end: &str, code: u16) {
        self.0.lock().refusals.push((end.to_owned(), code));
    }

    pub(crate) fn stop_refusing(&self) {
        self.0.lock().refusals.clear();
    }

    /// Returns the requests since the last call, each `METHOD PATH`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().requests)
    }

    /// Returns what watches would have seen by now.
    pub(crate) fn cache(&self) -> Cache {
        let state = self.0.lock();
        Cache::filled(|resource: &ApiResource| {
            let of_kind = state.objects.iter().filter(|(path, object)| {
                path.contains(&format!("/{}/", resource.plural))
                    && object["kind"] == resource.kind.as_str()
                    && object["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGER
            });
            let seen = of_kind.map(|(_, object)| {
                let mut seen: DynamicObject = serde_json::from_value(object.clone()).unwrap();
                // The items of a list, by which a watch begins, lack kind and version.
                seen.types = None;
                seen
            });
            seen.collect()
        })
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body: Bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = head.uri.path().to_owned();
        let mut state = self.0.lock();
        state.requests.push(format!("{} {path}", head.method));
        let refused = state.refusals.iter().find(|(end, _)| path.ends_with(end)).map(|(_, code)| *code);
        let (code, answer) = match refused {
            Some(code) => (code, failure(code)),
            None => state.answer(&head.method, &path, body),
        };
        Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap()
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let object_path = path.strip_suffix("/status").unwrap_or(path).to_owned();
        let there = self.objects.get(&object_path).cloned();
        match (method.as_str(), there) {
            ("GET", Some(object)) => (200, object),
            ("GET", None) if is_collection(path) => {
                let within = format!("{path}/");
                let items: Vec<&Value> = self
                    .objects
                    .iter()
                    .filter(|(path, _)| path.starts_with(&within))
                    .map(|(_, o)| o)
                    .collect();
                let metadata = json!({ "resourceVersion": self.version.to_string() });
                (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items }))
            }
            // The pod is gone at once, as if it had stopped.
            ("POST", _) if path.ends_with("/eviction") => {
                self.objects.remove(path.trim_end_matches("/eviction"));
                (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {} }))
            }
            ("POST", _) => {
                let name = body["metadata"]["name"].as_str().unwrap_or("generated").to_owned();
                let path = format!("{path}/{name}");
                if self.objects.contains_key(&path) {
                    return (409, failure(409));
                }
                self.store(&path, body)
            }
            ("PATCH", Some(object)) if is_stale(&body, &object) => (409, failure(409)),
            ("PATCH", Some(mut object)) => {
                merge(&mut object, body);
                self.store(&object_path, object)
            }
            ("PUT", Some(object)) if is_stale(&body, &object) => (409, failure(409)),
            // Whatever else the body has is ignored.
            ("PUT", Some(mut object)) if path.ends_with("/status") => {
                object["status"] = body["status"].clone();
                self.store(&object_path, object)
            }
            ("PATCH", None) | ("PUT", Some(_)) => self.store(&object_path, body),
            ("DELETE", Some(object)) => {
                self.objects.remove(&object_path);
                (200, object)
            }
            _ => (404, failure(404)),
        }
    }

    /// Stores an object. A write that changes nothing gives no new version.
    fn store(&mut self, path: &str, object: Value) -> (u16, Value) {
        if self.objects.get(path) != Some(&object) {
            let object = self.stored(object);
            self.objects.insert(path.to_owned(), object);
        }
        (200, self.objects[path].clone())
    }

    fn stored(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        object
    }
}

/// Returns true for `/apis/GROUP/VERSION/namespaces/NAMESPACE/KINDS`, or without a group below `/api`, and for
/// kinds that are in no namespace.
fn is_collection(path: &str) -> bool {
    match path.split_once("/namespaces/") {
        Some((_, rest)) => rest.split('/').count() == 2,
        None => path.strip_prefix("/api/v1/").is_some_and(|kinds| !kinds.contains('/')),
    }
}

/// Returns true if the body was made from another version of the object.
pub(crate) fn is_stale(body: &Value, object: &Value) -> bool {
    let version = &body["metadata"]["resourceVersion"];
    !version.is_null() && *version != object["metadata"]["resourceVersion"]
}

/// Merges as both kinds of patches do that operators send: lists are replaced, and null removes.
pub(crate) fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (field, value) in patch {
                if value.is_null() {
                    object.remove(&field);
                } else {
                    merge(object.entry(field).or_insert_with(|| json!({})), value);
                }
            }
        }
        (object, patch) => *object = patch,
    }
}

/// Returns the input from which the objects of a new resource are built.
pub(crate) fn input() -> Input {
    let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
    Input {
        resolved: Resolved::of(names, &ShardedKvSpec::default(), &Observed::default()).unwrap(),
        owner: OwnerReference::default(),
        existing: BTreeMap::new(),
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: "operators".to_owned(),
        users: Users::OfTheImage,
    }
}

/// Returns the owner of each shard as shard managers send it.
pub(crate) fn ranges(owners: &[u32]) -> Vec<v1::ShardRange> {
    let range = |(first, group): (u32, &u32)| v1::ShardRange { first, count: 1, group: *group, epoch: 1 };
    (0..).zip(owners).map(range).collect()
}

/// Returns the answer of a refused request.
pub(crate) fn failure(code: u16) -> Value {
    let reason = if code == 404 { "NotFound" } else { "" };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "refused", "reason": reason,
    })
}
