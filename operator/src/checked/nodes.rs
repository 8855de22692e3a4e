//! Nodes and their kubelets: pods are placed, servers start, hang and stop, and their state is told
//! to the API server.

use std::collections::BTreeSet;

use rand::RngExt as _;
use serde_json::{Value, json};
use skv_operator_plan::names::SERVER;

use super::objects::{is_leaving, is_true};
use super::raft::Group;
use super::world::World;

/// The seconds after which a node that isn't heard from counts as lost.
const SILENCE: i64 = 40;
/// The seconds after which pods on a lost node are deleted.
const PATIENCE: i64 = 60;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum NodeState {
    #[default]
    Up,
    /// Nothing runs on it.
    Down,
    /// Its kubelet isn't heard, and what runs on it runs.
    Silent,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) state: NodeState,
    pub(super) since: i64,
    /// The time at which it is back.
    pub(super) until: i64,
    pub(super) cordoned: bool,
    /// True if people said that nothing runs on it any more.
    pub(super) out_of_service: bool,
}

impl Node {
    pub(super) fn is_lost(&self, now: i64) -> bool {
        self.state != NodeState::Up && now > self.since + SILENCE
    }
}

/// A server that runs.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) server: String,
    /// The groups of which it hosts a replica.
    pub(super) groups: Vec<u32>,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) replica: u64,
    pub(super) hangs_until: i64,
    /// The time until which its disk is full.
    pub(super) full_until: i64,
}

impl Process {
    /// Returns the groups of which it hosts a replica, each with the replica.
    pub(super) fn replicas(&self) -> impl Iterator<Item = (u32, u64)> {
        self.groups.iter().map(move |group| (*group, self.replica))
    }
}

impl World {
    /// Breaks a node for some time.
    pub(super) fn break_node(&mut self, name: &str, state: NodeState, until: i64) {
        if state == NodeState::Down {
            self.processes.retain(|_, process| process.node != name);
        }
        if let Some(node) = self.nodes.get_mut(name) {
            *node = Node { state, since: self.now, until, cordoned: node.cordoned, out_of_service: false };
        }
    }

    /// Returns the names of the nodes that are about to be emptied.
    pub(super) fn cordoned(&self) -> BTreeSet<String> {
        self.nodes.iter().filter(|(_, node)| node.cordoned).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn run_nodes(&mut self) {
        let now = self.now;
        for node in self.nodes.values_mut().filter(|node| node.state != NodeState::Up && node.until <= now) {
            *node = Node { since: now, cordoned: node.cordoned, ..Node::default() };
        }
        for (name, node) in &self.nodes {
            let ready = if node.is_lost(now) { "Unknown" } else { "True" };
            let is_told = self.objects.get("nodes", name).is_some_and(|told| {
                told["status"]["conditions"][0]["status"] == ready
                    && told["spec"]["taints"].is_array() == node.out_of_service
            });
            if !is_told {
                let taint = json!({ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" });
                let taints = node.out_of_service.then_some([taint]);
                let object = json!({
                    "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                    "spec": { "taints": taints },
                    "status": { "conditions": [{ "type": "Ready", "status": ready }] },
                });
                self.objects.store("nodes", name, object);
            }
        }
        self.end_orphans();
        for name in self.objects.names("pods") {
            self.run_pod(&name);
        }
    }

    /// Ends the servers whose pods are gone, where the kubelet answers.
    fn end_orphans(&mut self) {
        let (pods, nodes) = (self.objects.kind("pods"), &self.nodes);
        self.processes.retain(|uid, process| {
            pods.get(process.server.as_str()).is_some_and(|pod| pod["metadata"]["uid"] == uid.as_str())
                || nodes.get(&process.node).is_some_and(|node| node.state == NodeState::Silent)
        });
    }

    fn run_pod(&mut self, name: &str) {
        let Some(pod) = self.objects.get("pods", name).cloned() else { return };
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let Some(on) = pod["spec"]["nodeName"].as_str().map(str::to_owned) else {
            if is_leaving(&pod) {
                self.objects.remove("pods", name);
            } else {
                self.schedule(name);
            }
            return;
        };
        let Some(node) = self.nodes.get(&on) else {
            // The collector of pods removes those of nodes that are gone, in its own time.
            if self.rng.random_bool(0.02) {
                self.objects.remove("pods", name);
            }
            return;
        };
        if node.state != NodeState::Up {
            if node.is_lost(self.now) {
                let evicted = self.now > node.since + SILENCE + PATIENCE;
                self.lose_pod(name, &pod, evicted);
            }
            return;
        }
        if is_leaving(&pod) {
            if self.rng.random_bool(0.3) {
                self.processes.remove(&uid);
                self.objects.remove("pods", name);
            }
            return;
        }
        if !self.processes.contains_key(&uid) {
            self.start(name, &pod, &uid, on);
        }
        self.tell(name, &uid);
    }

    fn schedule(&mut self, name: &str) {
        let pods = self.objects.kind("pods");
        let load =
            |node: &String| pods.values().filter(|pod| pod["spec"]["nodeName"] == node.as_str()).count();
        let fits = self.nodes.iter().filter(|(node_name, node)| {
            !node.cordoned && !node.is_lost(self.now) && self.can_use_volume_on(name, node_name)
        });
        let best = fits.map(|(name, _)| name).min_by_key(|name| load(name)).cloned();
        if self.rng.random_bool(0.3) {
            return;
        }
        if let Some(node) = &best {
            self.bind_volume(name, node);
        }
        self.objects.change("pods", name, |pod| match best {
            Some(node) => {
                pod["spec"]["nodeName"] = json!(node);
                pod["status"]["conditions"] = json!([{ "type": "PodScheduled", "status": "True" }]);
            }
            None => {
                pod["status"]["conditions"] =
                    json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }]);
            }
        });
    }

    /// Shows what becomes of a pod whose node isn't heard from.
    fn lose_pod(&mut self, name: &str, pod: &Value, evicted: bool) {
        let stamp = self.stamp();
        if is_true(pod, "Ready") {
            self.objects.change("pods", name, |pod| set_ready(pod, "Unknown", &stamp));
        }
        if evicted {
            self.begin_to_leave("pods", name);
        }
    }

    fn start(&mut self, name: &str, pod: &Value, uid: &str, node: String) {
        let groups = self.form.hosted_by(name);
        if groups.is_empty() {
            return;
        }
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        if image.starts_with("bad") {
            self.tell_waiting(name, "ErrImagePull");
            return;
        }
        if self.crashing.get(uid).is_some_and(|until| self.now < *until) {
            self.tell_waiting(name, "CrashLoopBackOff");
            return;
        }
        if self.rng.random_bool(0.5) {
            return;
        }
        let fresh = self.rng.random_range(1..u64::MAX);
        let replica =
            if self.in_memory { fresh } else { *self.disks.entry(name.to_owned()).or_insert(fresh) };
        let ip = format!("10.{}.{}.{}", fresh >> 16 & 255, fresh >> 8 & 255, fresh & 255);
        let address = format!("{ip}:7001");
        let server = name.to_owned();
        let process = Process { server, groups, node, address, replica, hangs_until: 0, full_until: 0 };
        self.processes.insert(uid.to_owned(), process);
        let started = self.stamp();
        self.objects.change("pods", name, |pod| {
            pod["status"]["podIP"] = json!(ip);
            pod["status"]["containerStatuses"] = container(&json!({ "running": { "startedAt": started } }));
        });
    }

    /// Tells the API server that no server runs in a pod, and why.
    fn tell_waiting(&mut self, name: &str, reason: &str) {
        let stamp = self.stamp();
        self.objects.change("pods", name, |pod| {
            pod["status"]["containerStatuses"] = container(&json!({ "waiting": { "reason": reason } }));
            if is_true(pod, "Ready") {
                set_ready(pod, "False", &stamp);
            }
        });
    }

    /// Tells the API server whether a server is ready.
    fn tell(&mut self, name: &str, uid: &str) {
        let Some(process) = self.processes.get(uid) else { return };
        let is_ready = self.serves(process);
        let Some(pod) = self.objects.get("pods", name) else { return };
        if is_true(pod, "Ready") == is_ready && has_condition(pod, "Ready") {
            return;
        }
        let (stamp, status) = (self.stamp(), if is_ready { "True" } else { "False" });
        self.objects.change("pods", name, |pod| set_ready(pod, status, &stamp));
    }

    /// Returns true if a server serves in each group of which it hosts a replica.
    fn serves(&self, process: &Process) -> bool {
        let mut groups = process.groups.iter().map(|group| self.groups.get(group));
        groups.all(|group| group.is_some_and(|group| self.serves_in(process, group)))
    }

    /// Returns true if a server answers, votes in a group, and has heard a leader of it lately.
    pub(super) fn serves_in(&self, process: &Process, group: &Group) -> bool {
        process.hangs_until <= self.now
            && group.voters.contains_key(&process.replica)
            && self.now - group.led_at < 10
    }
}

fn container(state: &Value) -> Value {
    json!([{
        "name": SERVER, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }])
}

fn has_condition(object: &Value, condition: &str) -> bool {
    object["status"]["conditions"].as_array().into_iter().flatten().any(|of| of["type"] == condition)
}

fn set_ready(pod: &mut Value, status: &str, since: &Value) {
    pod["status"]["conditions"] = json!([
        { "type": "PodScheduled", "status": "True" },
        { "type": "Ready", "status": status, "lastTransitionTime": since },
    ]);
}
