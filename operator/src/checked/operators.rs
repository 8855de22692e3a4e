//! Operators: the real passes, with watches that lag, and requests that a killed operator never finishes.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::Recorder;
use kube::runtime::watcher;
use rand::RngExt as _;
use serde_json::Value;
use skv_operator_plan::build::Users;

use super::api::{Caller, refusal};
use super::line::{Fuse, Line};
use super::objects::{Kind, NAME, Objects, Stored};
use super::reach::Reach;
use super::world::{Shared, World};
use crate::apply::Applier;
use crate::cache::{Cache, Feed};
use crate::cordons::Cordons;
use crate::reconcile::{Context, reconcile};
use crate::report::Reporter;
use crate::silence::Silences;

/// An operator, from its start until it is killed.
pub(super) struct Operator {
    number: usize,
    world: Shared,
    context: Context,
    fuse: Arc<Fuse>,
    /// The watch of the resource, whose objects passes begin with.
    resources: Watch,
    /// The watches that fill the cache.
    watches: Vec<Watch>,
}

/// A watch of one kind.
struct Watch {
    kind: String,
    /// The objects that it has seen.
    seen: Kind,
    /// The cache of the kind, which it fills.
    feed: Option<Feed>,
    /// The objects in the cache, which are those that were seen before the last pass.
    cached: Kind,
    /// The time until which it stands still.
    still_until: i64,
}

impl Watch {
    fn new(kind: &str, feed: Option<Feed>) -> Watch {
        Watch { kind: kind.to_owned(), seen: Kind::new(), feed, cached: Kind::new(), still_until: 0 }
    }

    /// Sees what there is by now, or lags.
    fn look(&mut self, world: &mut World) {
        if world.now < self.still_until || world.rng.random_bool(0.3) {
            return;
        }
        if world.rng.random_bool(0.02) {
            self.still_until = world.now + world.rng.random_range(5..150);
        }
        self.see(&world.objects);
    }

    /// Sees all objects of its kind.
    fn see(&mut self, objects: &Objects) {
        self.seen = objects.kind(&self.kind).clone();
    }

    /// Stores what it has seen in the cache. Only objects that have changed are stored again.
    fn fill(&mut self) {
        let Some(feed) = &self.feed else { return };
        let changed = |(name, object): &(&Arc<str>, &Arc<Stored>)| {
            self.cached.get(*name).is_none_or(|cached| !Arc::ptr_eq(cached, object))
        };
        let changed = self.seen.iter().filter(changed).filter_map(|(_, object)| object.watched());
        let changed = changed.map(|object| watcher::Event::Apply(object.clone()));
        let gone = self.cached.iter().filter(|(name, _)| !self.seen.contains_key(*name));
        let gone = gone.filter_map(|(_, object)| object.watched());
        let gone = gone.map(|object| watcher::Event::Delete(object.clone()));
        changed.chain(gone).for_each(|event| feed.show(event));
        self.cached = self.seen.clone();
    }
}

impl Operator {
    pub(super) fn new(number: usize, world: &Shared) -> Operator {
        let fuse = Arc::new(Fuse::new());
        let line = Line::new(world, &fuse);
        let client = client(number, &line);
        let recorder = Recorder::new(client.clone(), "skv-operator".into());
        let clock = Arc::clone(world);
        let (cache, feeds) = Cache::written();
        let watches = feeds.into_iter().map(|(kind, feed)| Watch::new(&kind.plural, Some(feed)));
        let context = Context {
            cache,
            applier: Applier::new(client.clone()),
            reporter: Reporter { client: client.clone(), recorder },
            client,
            servers: Arc::new(Reach(line)),
            metrics: Arc::default(),
            cluster_domain: "cluster.local".to_owned(),
            own_namespace: "operators".to_owned(),
            users: Users::OfTheImage,
            image: "shardedkv:1".to_owned(),
            cordons: Cordons::default(),
            silences: Silences::default(),
            clock: Arc::new(move || clock.lock().timestamp()),
        };
        let mut operator = Operator {
            number,
            world: Arc::clone(world),
            context,
            fuse,
            resources: Watch::new("shardedkvs", None),
            watches: watches.collect(),
        };
        operator.look_at_all();
        operator
    }

    /// Lets the watches see what they see by now, each kind by itself.
    pub(super) fn look(&mut self) {
        let world = &mut *self.world.lock();
        for watch in self.watches.iter_mut().chain([&mut self.resources]) {
            watch.look(world);
        }
        if world.rng.random_bool(0.7) {
            self.context.cordons.show(world.cordoned());
        }
    }

    /// Lets the watches see everything.
    pub(super) fn look_at_all(&mut self) {
        let world = self.world.lock();
        for watch in self.watches.iter_mut().chain([&mut self.resources]) {
            watch.see(&world.objects);
        }
        self.context.cordons.show(world.cordoned());
    }

    /// Makes a pass; returns false if the operator was killed in the middle of it.
    pub(super) async fn pass(&mut self, killed_after: Option<u32>) -> bool {
        self.watches.iter_mut().for_each(Watch::fill);
        let resource = self.resources.seen.get(NAME).and_then(|resource| resource.watched());
        let Some(resource) = resource else { return true };
        self.fuse.set(killed_after);
        self.world.lock().judge_pass(self.number);
        let survived = tokio::select! {
            biased;
            () = self.fuse.blown() => false,
            // What failed is tried again by the next pass. Failures are so few that there are hardly two in a row.
            _ = Box::pin(reconcile(resource, 0, &self.context)) => true,
        };
        self.world.lock().judge_end(self.number);
        survived
    }
}

fn client(number: usize, line: &Line) -> Client {
    let line = line.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let line = line.clone();
        async move {
            let (head, body) = request.into_parts();
            let body: Bytes =
                body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let answer = |world: &mut World| {
                let path = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
                let answer = world.answer(Caller::Operator(number), head.method.as_str(), path, body);
                // It may be done all the same.
                if world.loses(0.01) { refusal(504) } else { answer }
            };
            let (code, answer) = line.exchange(answer).await;
            let mut response = Response::new(Body::from(answer.into_bytes()));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
            Ok::<_, Infallible>(response)
        }
    });
    Client::new(service, "default")
}
