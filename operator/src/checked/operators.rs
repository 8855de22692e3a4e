//! Operators: the real passes, with watches that lag, and requests that a killed operator never finishes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::{ApiResource, DynamicObject};
use kube::client::Body;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::events::Recorder;
use rand::RngExt as _;
use serde_json::Value;
use skv_resource::ShardedKv;
use tokio::sync::Notify;

use super::api::Caller;
use super::objects::{Kind, NAME};
use super::reach::{Reach, meanwhile};
use super::world::Shared;
use crate::apply::Applier;
use crate::cache::{Cache, kinds};
use crate::reconcile::{Context, reconcile};
use crate::report::Reporter;

/// An operator, from its start until it is killed.
pub(super) struct Operator {
    number: usize,
    world: Shared,
    context: Context,
    fuse: Arc<Fuse>,
    /// The objects that its watches saw, by kind, and the time until which each stands still.
    seen: BTreeMap<String, Kind>,
    still_until: BTreeMap<String, i64>,
}

/// Kills an operator after a number of requests.
struct Fuse {
    left: AtomicU32,
    blown: Notify,
}

impl Fuse {
    /// Counts a request; returns true if the operator is killed by then.
    fn burn(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 {
            self.blown.notify_one();
        }
        left == 0
    }
}

impl Operator {
    pub(super) fn new(number: usize, world: &Shared) -> Operator {
        let fuse = Arc::new(Fuse { left: AtomicU32::new(u32::MAX), blown: Notify::new() });
        let client = client(number, world, &fuse);
        let recorder = Recorder::new(client.clone(), "skv-operator".into());
        let clock = Arc::clone(world);
        let context = Context {
            cache: Cache::filled(|_| Vec::new()),
            applier: Applier::new(client.clone()),
            reporter: Reporter { client: client.clone(), recorder },
            client,
            servers: Arc::new(Reach(Arc::clone(world))),
            metrics: Arc::default(),
            cluster_domain: "cluster.local".to_owned(),
            own_namespace: "operators".to_owned(),
            clock: Arc::new(move || clock.lock().timestamp()),
        };
        let mut operator = Operator {
            number,
            world: Arc::clone(world),
            context,
            fuse,
            seen: BTreeMap::new(),
            still_until: BTreeMap::new(),
        };
        operator.look(true);
        operator
    }

    /// Lets the watches see what they see by now, each kind by itself.
    pub(super) fn look(&mut self, all: bool) {
        let mut world = self.world.lock();
        let names = kinds().into_iter().map(|kind| kind.plural);
        for kind in names.chain(["shardedkvs".to_owned()]) {
            let now = world.now;
            let is_still = self.still_until.get(&kind).is_some_and(|until| now < *until);
            if !all && (is_still || world.rng.random_bool(0.3)) {
                continue;
            }
            if !all && world.rng.random_bool(0.02) {
                let until = now + world.rng.random_range(5..150);
                self.still_until.insert(kind.clone(), until);
            }
            let objects = world.objects.kind(&kind);
            self.seen.insert(kind, objects);
        }
    }

    /// Makes a pass; returns false if the operator was killed in the middle of it.
    pub(super) async fn pass(&mut self, killed_after: Option<u32>) -> bool {
        let Some(resource) = self.seen.get("shardedkvs").and_then(|kind| kind.get(NAME)) else { return true };
        let Ok(resource) = serde_json::from_value::<DeserializeGuard<ShardedKv>>((**resource).clone()) else {
            return true;
        };
        self.context.cache = Cache::filled(|kind: &ApiResource| {
            self.seen
                .get(&kind.plural)
                .into_iter()
                .flat_map(Kind::values)
                .filter_map(|object| seen(object))
                .collect()
        });
        self.fuse.left.store(killed_after.unwrap_or(u32::MAX), Ordering::Relaxed);
        self.world.lock().judge_pass(self.number);
        let survived = tokio::select! {
            biased;
            () = self.fuse.blown.notified() => false,
            // What failed is tried again by the next pass.
            _ = Box::pin(reconcile(&resource, &self.context)) => true,
        };
        self.world.lock().judge_end(self.number);
        survived
    }
}

/// Returns an object as a watch sees it: the items of a list lack kind and version.
fn seen(object: &Value) -> Option<DynamicObject> {
    let mut seen: DynamicObject = serde_json::from_value(object.clone()).ok()?;
    seen.types = None;
    Some(seen)
}

fn client(number: usize, world: &Shared, fuse: &Arc<Fuse>) -> Client {
    let (world, fuse) = (Arc::clone(world), Arc::clone(fuse));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (world, fuse) = (Arc::clone(&world), Arc::clone(&fuse));
        async move {
            let (head, body) = request.into_parts();
            let body: Bytes =
                body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            meanwhile(&world).await;
            if fuse.burn() {
                pending::<()>().await;
            }
            let path = head.uri.path();
            let (code, answer) =
                world.lock().answer(Caller::Operator(number), head.method.as_str(), path, body);
            meanwhile(&world).await;
            let loses_answer = world.lock().rng.random_bool(0.5);
            if fuse.left.load(Ordering::Relaxed) == 0 && loses_answer && fuse.burn() {
                pending::<()>().await;
            }
            let answer = serde_json::to_vec(&answer).unwrap_or_default();
            let mut response = Response::new(Body::from(answer));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
            Ok::<_, Infallible>(response)
        }
    });
    Client::new(service, "default")
}
