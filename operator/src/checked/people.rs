//! Everybody else: people who change the resource, drain nodes and delete pods; and all that breaks.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::api::Caller;
use super::nodes::NodeState;
use super::objects::{NAME, claim_of, is_leaving, place};
use super::world::World;

/// The work that people have begun.
#[derive(Debug, Default)]
pub(super) struct People {
    /// The node that is being drained, and the time at which that ends.
    draining: Option<(String, i64)>,
}

impl World {
    /// Does one thing, or none.
    pub(super) fn live_on(&mut self) {
        self.drain_on();
        if !self.rng.random_bool(0.08) {
            return;
        }
        match self.rng.random_range(0..13) {
            0 => self.edit(|spec, rng| spec["server"]["workerThreads"] = json!(rng.random_range(1..5))),
            1 => self.edit(|spec, rng| spec["replicas"] = json!(if rng.random_bool(0.5) { 3 } else { 5 })),
            2 => self.edit(|spec, rng| spec["groups"] = json!(rng.random_range(1..4))),
            3 => self.edit(|spec, rng| spec["paused"] = json!(rng.random_bool(0.3))),
            4 => self.edit(|spec, rng| {
                let image = ["shardedkv:1", "shardedkv:2", "bad:1"][rng.random_range(0..3)];
                spec["image"]["name"] = json!(image);
            }),
            5 => self.drain(),
            6 => self.delete_some_pod(),
            7 => self.break_some_node(),
            8 | 9 => self.hang_a_server(),
            10 => self.slow_a_replica(),
            11 => self.manager.silent_until = self.now + self.rng.random_range(5..100),
            _ => self.give_up_volumes(),
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Value, &mut rand::rngs::SmallRng)) {
        let rng = &mut self.rng;
        self.objects.change("shardedkvs", NAME, |resource| change(&mut resource["spec"], rng));
    }

    fn some<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.rng.random_range(0..all.len())].clone()) }
    }

    fn drain(&mut self) {
        let nodes: Vec<String> = self.nodes.keys().cloned().collect();
        let Some(node) = self.some(&nodes).filter(|_| self.people.draining.is_none()) else { return };
        if let Some(node) = self.nodes.get_mut(&node) {
            node.cordoned = true;
        }
        self.people.draining = Some((node, self.now + self.rng.random_range(20..120)));
    }

    /// Evicts what is still on the node that is drained, as `kubectl drain` does.
    fn drain_on(&mut self) {
        let Some((node, until)) = self.people.draining.clone() else { return };
        if self.now >= until {
            if let Some(node) = self.nodes.get_mut(&node) {
                node.cordoned = false;
            }
            self.people.draining = None;
            return;
        }
        let pods = self.objects.kind("pods");
        let on = pods.iter().filter(|(_, pod)| pod["spec"]["nodeName"] == node.as_str() && !is_leaving(pod));
        let names: Vec<String> = on.map(|(name, _)| name.clone()).collect();
        if let Some(name) = self.some(&names) {
            let path = format!("/api/v1/namespaces/prod/pods/{name}/eviction");
            self.answer(Caller::Person, "POST", &path, json!({}));
        }
    }

    fn delete_some_pod(&mut self) {
        let names = self.objects.names("pods");
        if let Some(name) = self.some(&names) {
            let path = format!("/api/v1/namespaces/prod/pods/{name}");
            self.answer(Caller::Person, "DELETE", &path, json!({}));
        }
    }

    fn break_some_node(&mut self) {
        let broken = self.nodes.values().filter(|node| node.state != NodeState::Up).count();
        let nodes: Vec<String> = self.nodes.keys().cloned().collect();
        let state = if self.rng.random_bool(0.5) { NodeState::Down } else { NodeState::Silent };
        let until = self.now + self.rng.random_range(5..300);
        if let Some(node) = self.some(&nodes).filter(|_| broken < 2) {
            self.break_node(&node, state, until);
        }
    }

    fn hang_a_server(&mut self) {
        let uids: Vec<String> = self.processes.keys().cloned().collect();
        let until = self.now + self.rng.random_range(5..250);
        if let Some(process) = self.some(&uids).and_then(|uid| self.processes.get_mut(&uid)) {
            process.hangs_until = until;
        }
    }

    fn slow_a_replica(&mut self) {
        let replicas: Vec<(u32, u64)> = self.processes.values().map(|p| (p.group, p.replica)).collect();
        let until = self.now + self.rng.random_range(5..100);
        let Some((group, replica)) = self.some(&replicas) else { return };
        if let Some(group) = self.groups.get_mut(&group) {
            group.slow_down(replica, until);
        }
    }

    /// Deletes the claims of pods that a lost node doesn't let go, as people are told to.
    pub(super) fn give_up_volumes(&mut self) {
        for name in self.lost_pods() {
            let path = format!("/api/v1/namespaces/prod/persistentvolumeclaims/{}", claim_of(&name));
            self.answer(Caller::Person, "DELETE", &path, json!({}));
        }
    }

    /// Lets go of pods on a lost node, where no leader is there to say that they aren't needed.
    pub(super) fn let_go(&mut self) {
        for name in self.lost_pods() {
            let is_led = place(&name)
                .and_then(|(group, _)| self.groups.get(&group))
                .is_some_and(|group| group.leader.is_some());
            if !is_led {
                let path = format!("/api/v1/namespaces/prod/pods/{name}");
                self.answer(Caller::Person, "DELETE", &path, json!({ "gracePeriodSeconds": 0 }));
            }
        }
    }

    /// Returns the pods that are being deleted on nodes that are lost.
    fn lost_pods(&self) -> Vec<String> {
        let pods = self.objects.kind("pods");
        let lost = pods.iter().filter(|(_, pod)| {
            let node = pod["spec"]["nodeName"].as_str().and_then(|node| self.nodes.get(node));
            is_leaving(pod) && node.is_some_and(|node| node.is_lost(self.now))
        });
        lost.map(|(name, _)| name.clone()).collect()
    }

    /// Ends all trouble. A node may stay lost for good.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.people.draining = None;
        self.manager.silent_until = 0;
        for process in self.processes.values_mut() {
            process.hangs_until = process.hangs_until.min(self.now);
        }
        let stays_lost = self.rng.random_bool(0.3);
        let broken =
            self.nodes.iter().filter(|(_, node)| node.state == NodeState::Down).map(|(name, _)| name.clone());
        let lost = broken.take(1).find(|_| stays_lost);
        for (name, node) in &mut self.nodes {
            node.cordoned = false;
            node.until = if Some(name) == lost.as_ref() { i64::MAX } else { 0 };
        }
        self.edit(|spec, _| {
            spec["paused"] = json!(false);
            spec["image"]["name"] = json!("shardedkv:3");
        });
    }
}
