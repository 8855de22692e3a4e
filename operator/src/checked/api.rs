//! The API server: the answers to requests, and the disruption budgets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{Stored, is_leaving, is_true, place};
use super::world::World;
use crate::testing::{failure, is_stale, merge};

/// The maker of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// An operator, by its number.
    Operator(usize),
    Person,
}

/// The way in which a pod is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    /// By an eviction, which a disruption budget may refuse.
    Evicts,
    Deletes,
}

/// A code of HTTP, and the answer as text.
type Answer = (u16, String);

impl World {
    /// Answers a request.
    pub(super) fn answer(&mut self, caller: Caller, method: &str, path: &str, body: Value) -> Answer {
        if self.loses(0.02) {
            return refusal(503);
        }
        let version = self.objects.version();
        let answer = self.answer_of(caller, method, path, body);
        if caller != Caller::Person && self.objects.version() != version {
            self.judge.changes += 1;
        }
        answer
    }

    fn answer_of(&mut self, caller: Caller, method: &str, path: &str, body: Value) -> Answer {
        let Some(target) = Target::of(path) else { return refusal(404) };
        if target.kind == "events" && method != "GET" {
            self.judge.events += 1;
            return (201, body.to_string());
        }
        match (method, &target) {
            ("GET", Target { kind, name: None, query, .. }) => self.list(caller, kind, query),
            ("GET", Target { kind, name: Some(name), .. }) => self.read(kind, name),
            ("POST", Target { kind: "pods", name: Some(name), part: Some("eviction"), .. }) => {
                self.evict(caller, name, &body["deleteOptions"])
            }
            ("PATCH", Target { kind, name: Some(name), .. }) => self.patch(caller, kind, name, body),
            ("PUT", Target { kind, name: Some(name), part: Some("status"), .. }) => {
                self.put_status(caller, kind, name, &body)
            }
            ("DELETE", Target { kind, name: Some(name), .. }) => {
                self.delete(caller, kind, name, &body, Taking::Deletes)
            }
            _ => refusal(405),
        }
    }

    fn list(&mut self, caller: Caller, kind: &str, query: &str) -> Answer {
        self.judge_look(caller, kind);
        // No object is anybody else's, so that only a host selects some of them.
        let host = host_in(query);
        let objects = self.objects.kind(kind).iter();
        let selected = objects.filter(|(name, _)| host.is_none_or(|host| ***name == *host));
        let items: Vec<&str> = selected.map(|(_, object)| object.text()).collect();
        let items = items.join(",");
        (200, format!(r#"{{"apiVersion":"v1","kind":"List","metadata":{{}},"items":[{items}]}}"#))
    }

    fn read(&self, kind: &str, name: &str) -> Answer {
        self.objects.get(kind, name).map_or_else(|| refusal(404), answered)
    }

    fn patch(&mut self, caller: Caller, kind: &str, name: &str, patch: Value) -> Answer {
        self.judge_write();
        let before = self.objects.get(kind, name);
        if before.is_some_and(|before| is_stale(&patch, before)) {
            return refusal(409);
        }
        // Only an apply, which names the kind, makes an object.
        if before.is_none() && patch["kind"].is_null() {
            return refusal(404);
        }
        let mut object = before.map_or_else(|| json!({}), |before| Value::clone(before));
        merge(&mut object, patch);
        if kind == "statefulsets" {
            let claims = |set: &Value| set["spec"]["volumeClaimTemplates"].clone();
            if before.is_some_and(|before| claims(before) != claims(&object)) {
                return refusal(422);
            }
            self.judge_set(caller, name, &object);
        }
        answered(&self.objects.store(kind, name, object))
    }

    fn put_status(&mut self, caller: Caller, kind: &str, name: &str, body: &Value) -> Answer {
        self.judge_write();
        let Some(before) = self.objects.get(kind, name) else { return refusal(404) };
        if is_stale(body, before) {
            return refusal(409);
        }
        let mut object = Value::clone(before);
        object["status"] = body["status"].clone();
        self.judge_record(caller, &object["status"]);
        answered(&self.objects.store(kind, name, object))
    }

    fn evict(&mut self, caller: Caller, name: &str, options: &Value) -> Answer {
        let Some(pod) = self.objects.get("pods", name) else { return refusal(404) };
        if !self.budget_allows(name, is_true(pod, "Ready")) {
            return refusal(429);
        }
        self.judge_eviction(caller, name);
        self.delete(caller, "pods", name, options, Taking::Evicts)
    }

    /// Returns true if the disruption budget of a pod's set lets one more go: none while no set says how many
    /// there are to be.
    fn budget_allows(&self, name: &str, is_ready: bool) -> bool {
        let Some((set, _)) = place(name) else { return true };
        if self.objects.get("poddisruptionbudgets", set).is_none() {
            return true;
        }
        let Some(object) = self.objects.get("statefulsets", set) else { return false };
        let expected = object["spec"]["replicas"].as_u64().unwrap_or(1);
        let pods = self.objects.kind("pods");
        let healthy = pods.iter().filter(|(name, pod)| {
            place(name).is_some_and(|(of, _)| of == set) && is_true(pod, "Ready") && !is_leaving(pod)
        });
        let (healthy, desired) = (healthy.count() as u64, expected.saturating_sub(1));
        if is_ready { healthy > desired } else { healthy >= desired && desired > 0 }
    }

    fn delete(&mut self, caller: Caller, kind: &str, name: &str, options: &Value, how: Taking) -> Answer {
        self.judge_write();
        let Some(object) = self.objects.get(kind, name).cloned() else { return refusal(404) };
        let (wanted, found) = (&options["preconditions"], &object["metadata"]);
        let differs = |field: &str| !wanted[field].is_null() && wanted[field] != found[field];
        if differs("uid") || differs("resourceVersion") {
            return refusal(409);
        }
        if kind == "pods" {
            let at_once = options["gracePeriodSeconds"] == 0;
            self.judge_deletion(caller, name, &object, at_once, how);
            if at_once {
                self.objects.remove(kind, name);
            } else {
                self.begin_to_leave(kind, name);
            }
        } else if kind == "persistentvolumeclaims" {
            self.judge_claim(caller, name, &object);
            self.begin_to_leave(kind, name);
        } else if kind == "statefulsets" {
            let leaves_pods = options["propagationPolicy"] == "Orphan";
            self.judge_end_of_set(caller, name, leaves_pods);
            self.delete_set(name, leaves_pods);
        } else {
            self.objects.remove(kind, name);
        }
        answered(&object)
    }
}

fn answered(object: &Arc<Stored>) -> Answer {
    (200, object.text().to_owned())
}

pub(super) fn refusal(code: u16) -> Answer {
    (code, failure(code).to_string())
}

/// The object that a path names.
#[derive(Debug)]
struct Target<'a> {
    kind: &'a str,
    name: Option<&'a str>,
    part: Option<&'a str>,
    query: &'a str,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Target<'a>> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let rest = match path.split_once("/namespaces/") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => path.strip_prefix("/api/v1/")?,
        };
        let mut parts = rest.split('/');
        Some(Target { kind: parts.next()?, name: parts.next(), part: parts.next(), query })
    }
}

/// Returns the node that a query asks for by its label, as the nodes of a volume are asked for: `label in (NODE)`.
fn host_in(query: &str) -> Option<&str> {
    let (_, host) = query.split_once("%28")?;
    Some(host.split_once("%29")?.0)
}
