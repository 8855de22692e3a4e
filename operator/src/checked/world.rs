//! Everything there is beside the operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::form::Form;
use super::judge::Judge;
use super::manager::Manager;
use super::nodes::{Node, Process};
use super::objects::{NAME, NAMESPACE, Objects, is_leaving};
use super::people::People;
use super::raft::{Group, Hosted};

/// The time at which each world begins, in seconds since 1970.
const BEGINNING: i64 = 1_767_225_600;

/// The world, shared by what acts in it.
pub(super) type Shared = Arc<Mutex<World>>;

pub(super) struct World {
    pub(super) rng: SmallRng,
    /// Seconds since 1970.
    pub(super) now: i64,
    pub(super) form: Form,
    pub(super) objects: Objects,
    /// The version of the objects at which those of sets that are gone were deleted last.
    pub(super) collected: u64,
    pub(super) nodes: BTreeMap<String, Node>,
    /// The servers that run, by the uid of their pod.
    pub(super) processes: BTreeMap<String, Process>,
    /// The replica on each server's volume.
    pub(super) disks: BTreeMap<String, u64>,
    /// The time until which the server of a pod ends as soon as it starts, by the uid of the pod.
    pub(super) crashing: BTreeMap<String, i64>,
    pub(super) groups: BTreeMap<u32, Group>,
    pub(super) manager: Manager,
    pub(super) people: People,
    pub(super) judge: Judge,
    /// The number of times that each trouble came, and of what seldom happens.
    pub(super) happened: BTreeMap<&'static str, u64>,
    pub(super) in_memory: bool,
    /// True once nothing bad happens any more.
    pub(super) calm: bool,
}

impl World {
    /// Returns a world with a resource that has just been created.
    pub(super) fn new(seed: u64) -> World {
        let mut form = Form::of_seed(seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        // In memory a group that can't do without one of its replicas ends with its first roll, and shows nothing
        // more.
        let in_memory = rng.random_bool(0.4) && !form.is_small();
        form.is_local &= !in_memory;
        let nodes = (0..rng.random_range(4..7)).map(|n| (format!("node{n}"), Node::default())).collect();
        let mut world = World {
            now: BEGINNING,
            form,
            objects: Objects::default(),
            collected: 0,
            nodes,
            processes: BTreeMap::new(),
            disks: BTreeMap::new(),
            crashing: BTreeMap::new(),
            groups: BTreeMap::new(),
            manager: Manager::default(),
            people: People::default(),
            judge: Judge::default(),
            happened: form.counted(),
            in_memory,
            calm: false,
            rng,
        };
        let groups = world.rng.random_range(1..3);
        let has_budget = world.rng.random_bool(0.7);
        let per_hour = world.rng.random_range(1..4);
        let when_deleted = if world.rng.random_bool(0.3) { "Delete" } else { "Retain" };
        let mut resource = json!({
            "apiVersion": "shardedkv.io/v1alpha1",
            "kind": "ShardedKV",
            "metadata": { "name": NAME, "namespace": NAMESPACE },
            "spec": {
                "groups": groups, "shards": 12, "image": { "name": "shardedkv:1" },
                "storage": { "memoryOnly": in_memory, "size": "10Gi", "whenDeleted": when_deleted },
                "replacement": { "afterSeconds": 60, "maxPerHour": per_hour },
                "disruptionBudget": { "enabled": has_budget },
            },
        });
        form.specify(&mut resource["spec"]);
        world.objects.store("shardedkvs", NAME, resource);
        world
    }

    /// Lets a second pass.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        if !self.calm {
            self.live_on();
        }
        self.run_nodes();
        self.run_controllers();
        let hosted = self.hosted();
        self.run_manager(&hosted);
        for group in self.groups.values_mut() {
            group.tick(self.now, self.manager.replicas, &hosted, &mut self.rng);
        }
        self.give_leaderships_up(&hosted);
        self.judge_tick(&hosted);
    }

    /// Returns the servers that run and answer, each with the replica that it hosts.
    pub(super) fn hosted(&self) -> Hosted {
        let answers = self.processes.values().filter(|process| process.hangs_until <= self.now);
        answers.map(|process| (process.server.clone(), process.replica)).collect()
    }

    /// Returns the specification of the resource.
    pub(super) fn spec(&self) -> Value {
        self.objects.get("shardedkvs", NAME).map(|resource| resource["spec"].clone()).unwrap_or_default()
    }

    /// Returns what the operator says, and what there is.
    pub(super) fn picture(&self) -> String {
        let mut lines = vec![format!("{:?}", self.form)];
        if let Some(resource) = self.objects.get("shardedkvs", NAME) {
            lines.push(format!("says {}", resource["status"]));
        }
        for (name, pod) in self.objects.kind("pods") {
            let phase = if is_leaving(pod) { "leaving" } else { "there" };
            lines.push(format!("{name} is {phase} on {}: {}", pod["spec"]["nodeName"], pod["status"]));
        }
        lines.extend(self.groups.values().map(|group| format!("{group:?}")));
        lines.push(format!("{:?}", self.manager));
        lines.extend(self.nodes.iter().map(|(name, node)| format!("{name}: {node:?}")));
        lines.join("\n")
    }

    /// Lets time pass at once while a lost server waits for the budget of replacements, which is for an hour.
    pub(super) fn wait_for_budget(&mut self) {
        const AT_ONCE: i64 = 300;
        let Some(resource) = self.objects.get("shardedkvs", NAME) else { return };
        let count = |list: &Value| list.as_array().map_or(0, Vec::len) as u64;
        let most = resource["spec"]["replacement"]["maxPerHour"].as_u64().unwrap_or(u64::MAX);
        if count(&resource["status"]["lost"]) == 0 || count(&resource["status"]["replaced"]) < most {
            return;
        }
        *self.happened.entry("budget spent").or_default() += 1;
        self.now += AT_ONCE;
        for group in self.groups.values_mut() {
            group.led_at += AT_ONCE;
        }
    }

    /// Marks an object as one that is being deleted, if it isn't yet.
    pub(super) fn begin_to_leave(&mut self, kind: &str, name: &str) {
        if !self.objects.get(kind, name).is_some_and(|object| is_leaving(object)) {
            let stamp = self.stamp();
            self.objects.change(kind, name, |object| object["metadata"]["deletionTimestamp"] = stamp);
        }
    }

    /// Returns the time as objects have it.
    pub(super) fn stamp(&self) -> Value {
        json!(self.timestamp().to_string())
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap_or_default()
    }
}
