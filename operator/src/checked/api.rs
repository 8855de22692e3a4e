//! The API server: the answers to requests, and the disruption budgets.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::objects::{is_leaving, is_true, place, set_of};
use super::world::World;
use crate::testing::{failure, is_stale, merge};

/// The maker of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// An operator, by its number.
    Operator(usize),
    Person,
}

/// A code of HTTP, and the answer.
type Answer = (u16, Value);

impl World {
    /// Answers a request.
    pub(super) fn answer(&mut self, caller: Caller, method: &str, path: &str, body: Value) -> Answer {
        if !self.calm && self.rng.random_bool(0.02) {
            return refusal(503);
        }
        let Some(target) = Target::of(path) else { return refusal(404) };
        if target.kind == "events" {
            return (201, body);
        }
        match (method, &target) {
            ("GET", Target { kind, name: None, .. }) => {
                let items: Vec<Value> =
                    self.objects.kind(kind).values().map(|object| (**object).clone()).collect();
                (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
            }
            ("GET", Target { kind, name: Some(name), .. }) => self.read(kind, name),
            ("POST", Target { kind: "pods", name: Some(name), part: Some("eviction") }) => {
                self.evict(caller, name, &body["deleteOptions"])
            }
            ("PATCH", Target { kind, name: Some(name), .. }) => self.patch(kind, name, body),
            ("PUT", Target { kind, name: Some(name), part: Some("status") }) => {
                self.put_status(kind, name, &body)
            }
            ("DELETE", Target { kind, name: Some(name), .. }) => self.delete(caller, kind, name, &body),
            _ => refusal(405),
        }
    }

    fn read(&self, kind: &str, name: &str) -> Answer {
        self.objects.get(kind, name).map_or_else(|| refusal(404), |object| (200, (**object).clone()))
    }

    fn patch(&mut self, kind: &str, name: &str, patch: Value) -> Answer {
        self.judge_write();
        let before = self.objects.get(kind, name);
        if before.is_some_and(|before| is_stale(&patch, before)) {
            return refusal(409);
        }
        let mut object = before.map_or_else(|| json!({}), |before| (**before).clone());
        merge(&mut object, patch);
        (200, (*self.objects.store(kind, name, object)).clone())
    }

    fn put_status(&mut self, kind: &str, name: &str, body: &Value) -> Answer {
        self.judge_write();
        let Some(before) = self.objects.get(kind, name) else { return refusal(404) };
        if is_stale(body, before) {
            return refusal(409);
        }
        let mut object = (**before).clone();
        object["status"] = body["status"].clone();
        (200, (*self.objects.store(kind, name, object)).clone())
    }

    fn evict(&mut self, caller: Caller, name: &str, options: &Value) -> Answer {
        let Some(pod) = self.objects.get("pods", name) else { return refusal(404) };
        if !self.budget_allows(name, is_true(pod, "Ready")) {
            return refusal(429);
        }
        self.judge_eviction(caller, name);
        self.delete(caller, "pods", name, options)
    }

    /// Returns true if the disruption budget of a pod's group lets one more go.
    fn budget_allows(&self, name: &str, is_ready: bool) -> bool {
        let Some((group, _)) = place(name) else { return true };
        let set = set_of(group);
        if self.objects.get("poddisruptionbudgets", &set).is_none() {
            return true;
        }
        let Some(object) = self.objects.get("statefulsets", &set) else { return true };
        let expected = object["spec"]["replicas"].as_u64().unwrap_or(1);
        let pods = self.objects.kind("pods");
        let healthy = pods.iter().filter(|(name, pod)| {
            place(name).is_some_and(|(of, _)| of == group) && is_true(pod, "Ready") && !is_leaving(pod)
        });
        let (healthy, desired) = (healthy.count() as u64, expected.saturating_sub(1));
        if is_ready { healthy > desired } else { healthy >= desired && desired > 0 }
    }

    fn delete(&mut self, caller: Caller, kind: &str, name: &str, options: &Value) -> Answer {
        self.judge_write();
        let Some(object) = self.objects.get(kind, name).cloned() else { return refusal(404) };
        let (wanted, found) = (&options["preconditions"], &object["metadata"]);
        let differs = |field: &str| !wanted[field].is_null() && wanted[field] != found[field];
        if differs("uid") || differs("resourceVersion") {
            return refusal(409);
        }
        if kind == "pods" {
            let at_once = options["gracePeriodSeconds"] == 0;
            self.judge_deletion(caller, name, &object, at_once);
            if at_once {
                self.objects.remove(kind, name);
            } else {
                self.begin_to_leave(kind, name);
            }
        } else if kind == "persistentvolumeclaims" {
            self.begin_to_leave(kind, name);
        } else {
            self.objects.remove(kind, name);
        }
        (200, (*object).clone())
    }
}

fn refusal(code: u16) -> Answer {
    (code, failure(code))
}

/// The object that a path names.
#[derive(Debug)]
struct Target<'a> {
    kind: &'a str,
    name: Option<&'a str>,
    part: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Target<'a>> {
        let rest = match path.split_once("/namespaces/") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => path.strip_prefix("/api/v1/")?,
        };
        let mut parts = rest.split('/');
        Some(Target { kind: parts.next()?, name: parts.next(), part: parts.next() })
    }
}
