//! Everybody else: people who change the resource, drain nodes and delete pods; and all that breaks.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::api::Caller;
use super::nodes::{Node, NodeState, Process};
use super::objects::{NAME, claim_of, is_leaving};
use super::raft::Group;
use super::world::World;

type Trouble = fn(&mut World);

/// All that happens, each as often as it is here.
const TROUBLES: [(&str, Trouble); 23] = [
    ("roll", |world| {
        world.edit(|spec, rng| spec["server"]["workerThreads"] = json!(rng.random_range(1..5)));
    }),
    ("replicas", World::resize_groups),
    ("groups", World::change_groups),
    ("pause", |world| world.edit(|spec, rng| spec["paused"] = json!(rng.random_bool(0.3)))),
    ("image", |world| {
        world.edit(|spec, rng| {
            let image = ["shardedkv:1", "shardedkv:2", "bad:1"][rng.random_range(0..3)];
            spec["image"]["name"] = json!(image);
        });
    }),
    ("volumes grow", World::enlarge_volumes),
    ("invalid edit", World::edit_wrongly),
    ("drain", World::drain),
    ("pod deleted", World::delete_some_pod),
    ("claim deleted", World::delete_some_claim),
    ("node", World::break_some_node),
    ("node given up", World::give_up_a_node),
    ("node removed", World::remove_some_node),
    ("hanging", World::hang_a_server),
    ("hanging", World::hang_a_server),
    ("crash loop", World::crash_a_server),
    ("full disk", World::fill_a_disk),
    ("slow", World::slow_a_replica),
    ("apart", World::part_a_group),
    ("silent manager", |world| {
        world.manager.silent_until = world.now + world.rng.random_range(5..100);
    }),
    ("quota", |world| world.people.quota_until = world.now + world.rng.random_range(5..100)),
    ("volumes given up", World::give_up_volumes),
    ("volumes given up", World::give_up_volumes),
];

/// The work that people have begun.
#[derive(Debug, Default)]
pub(super) struct People {
    /// The node that is being drained, and the time at which that ends.
    draining: Option<(String, i64)>,
    /// The time until which a quota refuses new pods.
    pub(super) quota_until: i64,
    /// The time at which an edit that made no sense is taken back.
    mended_at: i64,
}

impl World {
    /// Does one thing or several, or none.
    pub(super) fn live_on(&mut self) {
        self.drain_on();
        if self.people.mended_at == self.now {
            self.mend();
        }
        if !self.rng.random_bool(0.08) {
            return;
        }
        let at_once = if self.rng.random_bool(0.2) { 3 } else { 1 };
        for _ in 0..at_once {
            let (what, happen) = TROUBLES[self.rng.random_range(0..TROUBLES.len())];
            *self.happened.entry(what).or_default() += 1;
            happen(self);
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Value, &mut rand::rngs::SmallRng)) {
        let rng = &mut self.rng;
        self.objects.change("shardedkvs", NAME, |resource| change(&mut resource["spec"], rng));
    }

    pub(super) fn some<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.rng.random_range(0..all.len())].clone()) }
    }

    /// Asks for another number of replicas. In a ring it is fixed.
    fn resize_groups(&mut self) {
        let [fewer, more] = self.form.replicas;
        if self.form.ring.is_none() {
            self.edit(|spec, rng| {
                spec["replicas"] = json!(if rng.random_bool(0.5) { fewer } else { more });
            });
        }
    }

    /// Asks for another number of groups. In a ring it is fixed.
    fn change_groups(&mut self) {
        if self.form.ring.is_none() {
            self.edit(|spec, rng| spec["groups"] = json!(rng.random_range(1..4)));
        }
    }

    fn enlarge_volumes(&mut self) {
        if self.in_memory {
            return;
        }
        self.edit(|spec, rng| {
            let size = spec["storage"]["size"].as_str().and_then(|size| size.strip_suffix("Gi"));
            let gibibytes: u32 = size.and_then(|size| size.parse().ok()).unwrap_or(10);
            let larger = gibibytes + rng.random_range(1..5_u32);
            spec["storage"]["size"] = json!(format!("{larger}Gi"));
        });
    }

    /// Makes the resource one that can't be used, by a value that is wrong or can't be read, for a while.
    fn edit_wrongly(&mut self) {
        self.people.mended_at = self.now + self.rng.random_range(5..60);
        self.edit(|spec, rng| {
            spec["replacement"]["afterSeconds"] = if rng.random_bool(0.5) { json!(0) } else { json!("soon") };
        });
    }

    fn mend(&mut self) {
        self.edit(|spec, _| spec["replacement"]["afterSeconds"] = json!(60));
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
        let names: Vec<Arc<str>> = on.map(|(name, _)| Arc::clone(name)).collect();
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

    /// Deletes a claim, unless that might take the only data that a group has: then it would show nothing more.
    fn delete_some_claim(&mut self) {
        if self.form.is_small() {
            return;
        }
        let names = self.objects.names("persistentvolumeclaims");
        if let Some(name) = self.some(&names) {
            let path = format!("/api/v1/namespaces/prod/persistentvolumeclaims/{name}");
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

    /// Says of a node that nothing runs on it any more.
    fn give_up_a_node(&mut self) {
        let is_dead = |node: &Node, now| node.state == NodeState::Down && node.is_lost(now);
        let now = self.now;
        if let Some(node) = self.nodes.values_mut().find(|node| is_dead(node, now)) {
            node.out_of_service = true;
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
        let replicas: Vec<(u32, u64)> = self.processes.values().flat_map(Process::replicas).collect();
        let until = self.now + self.rng.random_range(5..100);
        let Some((group, replica)) = self.some(&replicas) else { return };
        if let Some(group) = self.groups.get_mut(&group) {
            group.slow_down(replica, until);
        }
    }

    /// Keeps the servers of a group from reaching each other.
    fn part_a_group(&mut self) {
        let groups: Vec<u32> = self.groups.keys().copied().collect();
        let until = self.now + self.rng.random_range(5..250);
        if let Some(group) = self.some(&groups).and_then(|group| self.groups.get_mut(&group)) {
            group.part(until);
        }
    }

    /// Deletes the claims of pods that a lost node doesn't let go, and of those that wait for a volume on one, as
    /// people are told to: unless they said that it is out of service, and the groups work, so that the operator does
    /// all that is left. Volumes that a group can't do without are kept: their node may be back, or they can be used
    /// elsewhere.
    pub(super) fn give_up_volumes(&mut self) {
        for name in self.lost_pods().into_iter().chain(self.stranded_pods()) {
            if self.is_dispensable(&name) && (!self.is_led(&name) || !self.is_given_up(&name)) {
                let path = format!("/api/v1/namespaces/prod/persistentvolumeclaims/{}", claim_of(&name));
                self.answer(Caller::Person, "DELETE", &path, json!({}));
            }
        }
    }

    /// Lets go of pods on a lost node, where no leader is there to say that they aren't needed.
    pub(super) fn let_go(&mut self) {
        for name in self.lost_pods() {
            if !self.is_led(&name) {
                let path = format!("/api/v1/namespaces/prod/pods/{name}");
                self.answer(Caller::Person, "DELETE", &path, json!({ "gracePeriodSeconds": 0 }));
            }
        }
    }

    /// Returns true if each group of a server has a leader.
    fn is_led(&self, server: &str) -> bool {
        let is_led = |group: &u32| self.groups.get(group).is_some_and(|group| group.leader.is_some());
        self.form.hosted_by(server).iter().all(is_led)
    }

    /// Returns true if a server is a voter of no group that has so few that it needs each of them.
    fn is_dispensable(&self, server: &str) -> bool {
        let needs = |group: &Group| group.voters.len() < 3 && group.voters.values().any(|on| on == server);
        let groups = self.form.hosted_by(server);
        !groups.iter().filter_map(|group| self.groups.get(group)).any(needs)
    }

    /// Returns true if the node of a pod, or of the volume that it waits for, is gone or out of service.
    fn is_given_up(&self, server: &str) -> bool {
        let pod = self.objects.get("pods", server);
        let node = pod.and_then(|pod| pod["spec"]["nodeName"].as_str()).or_else(|| self.host_of(server));
        node.is_some_and(|node| self.nodes.get(node).is_none_or(|node| node.out_of_service))
    }

    /// Returns the pods that are being deleted on nodes that are lost.
    fn lost_pods(&self) -> Vec<Arc<str>> {
        let pods = self.objects.kind("pods");
        let lost = pods.iter().filter(|(_, pod)| {
            let node = pod["spec"]["nodeName"].as_str().and_then(|node| self.nodes.get(node));
            is_leaving(pod) && node.is_some_and(|node| node.is_lost(self.now))
        });
        lost.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Ends all trouble. A node may stay lost for good.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.people.draining = None;
        self.manager.silent_until = 0;
        for process in self.processes.values_mut() {
            process.hangs_until = process.hangs_until.min(self.now);
            process.full_until = 0;
        }
        self.crashing.clear();
        self.mend();
        self.people.quota_until = 0;
        for group in self.groups.values_mut() {
            group.part(0);
        }
        let (stays_lost, is_given_up) = (self.rng.random_bool(0.3), self.rng.random_bool(0.5));
        let lost = self.node_to_lose().filter(|_| stays_lost);
        if let Some(name) = lost.as_deref().filter(|name| self.nodes[*name].state != NodeState::Down) {
            self.break_node(name, NodeState::Down, i64::MAX);
        }
        for (name, node) in &mut self.nodes {
            node.cordoned = false;
            let is_lost = Some(name) == lost.as_ref();
            node.until = if is_lost { i64::MAX } else { 0 };
            node.out_of_service |= is_lost && is_given_up;
        }
        self.edit(|spec, _| {
            spec["paused"] = json!(false);
            spec["image"]["name"] = json!("shardedkv:3");
        });
    }

    /// Returns a node that is down, or one without which each group still has a majority. So must each if volumes
    /// are gone with a node that is down.
    fn node_to_lose(&self) -> Option<String> {
        let hosted = self.hosted();
        let is_spared =
            |name: &String| self.groups.values().all(|group| self.holds_without_node(name, group, &hosted));
        let may_stay_down = |(name, node): &(&String, &Node)| {
            node.state == NodeState::Down && (!self.form.is_local || is_spared(name))
        };
        let down = self.nodes.iter().find(may_stay_down).map(|(name, _)| name);
        let spared = || self.nodes.keys().find(|name| is_spared(name));
        down.or_else(spared).cloned()
    }
}
