//! The nodes that are about to be emptied, and the zones of all nodes, as a watch of all nodes shows them. An
//! operator without the right to watch nodes knows none.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::mem;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;

/// The taints by which those who add and remove nodes say which they are about to empty.
const LEAVING: [&str; 2] = ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"];

/// The label of a node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The facts about nodes; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cordons(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The nodes that are about to be emptied.
    closing: BTreeSet<String>,
    /// The zones of the nodes that have one.
    zones: BTreeMap<String, String>,
    /// All nodes of the list that is being read.
    listed: BTreeSet<String>,
    /// True if all nodes were listed once, or can't be.
    is_complete: bool,
    /// True if it was said that they can't be.
    is_told: bool,
}

impl Cordons {
    /// Begins to watch all nodes. Following the stream keeps the facts up to date; its items are the nodes
    /// that are about to be emptied since then, or aren't any more.
    pub(crate) fn watch(
        client: &Client,
    ) -> (Cordons, impl Stream<Item = Result<Node, watcher::Error>> + Send + use<>) {
        let cordons = Cordons::default();
        let events = watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
        let changes = {
            let cordons = cordons.clone();
            events.filter_map(move |event| ready(cordons.changed(event)))
        };
        (cordons, changes)
    }

    /// Returns the names of all nodes that are about to be emptied; `None` before they were listed once.
    pub(crate) fn names(&self) -> Option<BTreeSet<String>> {
        let known = self.0.lock();
        known.is_complete.then(|| known.closing.clone())
    }

    /// Returns the zones of these nodes, where they are known; none if all nodes are in the same zone.
    pub(crate) fn zones<'a>(&self, nodes: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
        let known = self.0.lock();
        let mut all = known.zones.values();
        let first = all.next();
        if all.all(|zone| Some(zone) == first) {
            return BTreeMap::new();
        }
        nodes.filter_map(|node| Some((node.clone(), known.zones.get(node)?.clone()))).collect()
    }

    /// Shows the names that a test's nodes have.
    #[cfg(test)]
    pub(crate) fn show(&self, names: BTreeSet<String>) {
        let mut known = self.0.lock();
        (known.closing, known.is_complete) = (names, true);
    }

    fn changed(&self, event: Result<Event<Node>, watcher::Error>) -> Option<Result<Node, watcher::Error>> {
        let mut known = self.0.lock();
        match event {
            Ok(Event::Apply(node)) => known.hear(&node).then_some(Ok(node)),
            Ok(Event::InitApply(node)) => {
                let is_news = known.hear(&node);
                known.listed.insert(node.name_any());
                is_news.then_some(Ok(node))
            }
            Ok(Event::Delete(node)) => {
                let name = node.name_any();
                known.zones.remove(&name);
                known.closing.remove(&name).then_some(Ok(node))
            }
            Ok(Event::Init) => {
                known.listed.clear();
                None
            }
            Ok(Event::InitDone) => {
                // Those that aren't listed any more were deleted unseen.
                let listed = mem::take(&mut known.listed);
                known.closing.retain(|name| listed.contains(name));
                known.zones.retain(|name, _| listed.contains(name));
                known.is_complete = true;
                None
            }
            Err(error) if is_forbidden(&error) => {
                known.forbid(&error);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Known {
    /// Takes note of a node; returns true if it is news that it is about to be emptied, or that it isn't.
    fn hear(&mut self, node: &Node) -> bool {
        let name = node.name_any();
        match node.labels().get(ZONE) {
            Some(zone) => _ = self.zones.insert(name.clone(), zone.clone()),
            None => _ = self.zones.remove(&name),
        }
        if is_closing(node) { self.closing.insert(name) } else { self.closing.remove(&name) }
    }

    /// Takes note that nodes may not be watched. It is tried again now and then.
    fn forbid(&mut self, error: &watcher::Error) {
        self.closing.clear();
        self.zones.clear();
        self.is_complete = true;
        if !mem::replace(&mut self.is_told, true) {
            tracing::warn!(%error, "nodes can't be watched: leaders don't leave those that are cordoned ahead of a drain");
        }
    }
}

fn is_closing(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| {
        let mut taints = spec.taints.iter().flatten();
        spec.unschedulable == Some(true) || taints.any(|taint| LEAVING.contains(&taint.key.as_str()))
    })
}

fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, spec: &Value) -> Node {
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
    }

    #[test]
    fn nodes_are_known_by_what_is_said_of_them_and_only_news_is_told() {
        let cordons = Cordons::default();
        let is_news = |event: Event<Node>| cordons.changed(Ok(event)).is_some();
        let cordoned = || node("n1", &json!({ "unschedulable": true }));
        let taint = json!({ "taints": [{ "key": "karpenter.sh/disrupted", "effect": "NoSchedule" }] });
        assert!(!is_news(Event::Init) && is_news(Event::InitApply(cordoned())));
        assert_eq!(cordons.names(), None, "there may be others");
        assert!(!is_news(Event::InitDone) && !is_news(Event::Apply(cordoned())));
        assert!(!is_news(Event::Apply(node("n2", &json!({})))));
        assert!(is_news(Event::Apply(node("n3", &taint))));
        assert_eq!(cordons.names(), Some(["n1", "n3"].map(str::to_owned).into()));
        assert!(is_news(Event::Apply(node("n1", &json!({})))));
        assert!(is_news(Event::Delete(node("n3", &taint))));
        assert_eq!(cordons.names(), Some(BTreeSet::new()));
    }

    #[test]
    fn zones_are_known_where_there_are_several() {
        let cordons = Cordons::default();
        let names = ["n1", "n2", "n3"].map(str::to_owned);
        let hear = |name: &str, zone: Option<&str>| {
            let mut node = node(name, &json!({}));
            node.labels_mut().extend(zone.map(|zone| (ZONE.to_owned(), zone.to_owned())));
            assert!(cordons.changed(Ok(Event::Apply(node))).is_none(), "no resource need be looked at");
        };
        hear("n1", Some("a"));
        hear("n2", Some("a"));
        assert_eq!(cordons.zones(names.iter()), BTreeMap::new(), "they are no reason to prefer a node");
        hear("n3", Some("b"));
        let zone = |name: &str| cordons.zones(names.iter()).remove(name);
        assert_eq!((zone("n2").as_deref(), zone("n3").as_deref()), (Some("a"), Some("b")));
        hear("n2", None);
        assert_eq!((zone("n1").as_deref(), zone("n2")), (Some("a"), None));
        cordons.changed(Ok(Event::Delete(node("n3", &json!({})))));
        assert_eq!(cordons.zones(names.iter()), BTreeMap::new());
    }

    #[test]
    fn a_watch_that_is_begun_again_lists_what_is_still_there() {
        let cordons = Cordons::default();
        let nodes = ["n1", "n2"].map(|name| node(name, &json!({ "unschedulable": true })));
        cordons.changed(Ok(Event::InitDone));
        for node in nodes.clone() {
            cordons.changed(Ok(Event::Apply(node)));
        }
        let [_, still_there] = nodes;
        for event in [Event::Init, Event::InitApply(still_there)] {
            assert!(cordons.changed(Ok(event)).is_none());
            assert_eq!(cordons.names().unwrap().len(), 2, "the list isn't complete");
        }
        cordons.changed(Ok(Event::InitDone));
        assert_eq!(cordons.names(), Some(["n2".to_owned()].into()));
    }

    #[test]
    fn nodes_that_may_not_be_watched_are_none() {
        let cordons = Cordons::default();
        let refused = |code: u16| {
            let status = json!({ "status": "Failure", "code": code, "message": "no", "reason": "" });
            let error = kube::Error::Api(serde_json::from_value(status).unwrap());
            cordons.changed(Err(watcher::Error::InitialListFailed(error))).is_some()
        };
        assert!(refused(503), "the watch is begun again");
        assert_eq!(cordons.names(), None);
        assert!(!refused(403));
        assert_eq!(cordons.names(), Some(BTreeSet::new()));
    }
}
