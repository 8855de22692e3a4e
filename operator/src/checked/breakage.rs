//! Faults of some length: nodes that are gone for good, servers that end at each start, and disks that are full.

use rand::RngExt as _;

use super::nodes::{NodeState, Process};
use super::raft::{Group, Hosted};
use super::world::World;

/// The number of nodes that stay.
const NODES: usize = 4;

impl World {
    /// Removes a node for good, with all that runs on it, if there are others enough, also for the groups whose
    /// volumes go with it.
    pub(super) fn remove_some_node(&mut self) {
        let nodes: Vec<String> = self.nodes.keys().cloned().collect();
        let all_work = self.nodes.values().all(|node| node.state == NodeState::Up);
        let Some(name) = self.some(&nodes).filter(|_| all_work && nodes.len() > NODES) else { return };
        let hosted = self.hosted();
        let mut founded = self.groups.values().filter(|group| group.is_founded() && !group.retired);
        if self.form.is_local && !founded.all(|group| self.holds_without_node(&name, group, &hosted)) {
            return;
        }
        self.lose_volumes_of(&name);
        self.nodes.remove(&name);
        self.objects.remove("nodes", &name);
        self.processes.retain(|_, process| process.node != name);
    }

    /// Returns true if a group has a majority that runs on other nodes.
    pub(super) fn holds_without_node(&self, node: &str, group: &Group, hosted: &Hosted) -> bool {
        let mut live = group.live(hosted);
        for process in self.processes.values().filter(|process| process.node == node) {
            live.remove(&process.replica);
        }
        group.is_majority(&live)
    }

    /// Ends a server, and each that starts in its pod, for a while. In memory that takes its replicas for good, so
    /// that their groups must be whole: groups whose majority is lost show nothing more.
    pub(super) fn crash_a_server(&mut self) {
        let hosted = self.hosted();
        let is_whole = |group: &Group| group.live(&hosted).len() == group.voters.len();
        let in_whole_groups = |process: &Process| {
            process.groups.iter().all(|group| self.groups.get(group).is_some_and(is_whole))
        };
        let spared = self.processes.iter().filter(|(_, process)| !self.in_memory || in_whole_groups(process));
        let uids: Vec<String> = spared.map(|(uid, _)| uid.clone()).collect();
        let until = self.now + self.rng.random_range(5..250);
        if let Some(uid) = self.some(&uids) {
            self.processes.remove(&uid);
            self.crashing.insert(uid, until);
        }
    }

    /// Fills the disk of a server for a while.
    pub(super) fn fill_a_disk(&mut self) {
        let uids: Vec<String> = self.processes.keys().cloned().collect();
        let until = self.now + self.rng.random_range(5..250);
        if let Some(process) = self.some(&uids).and_then(|uid| self.processes.get_mut(&uid)) {
            process.full_until = until;
        }
    }

    /// Returns true if the disk of a replica is full.
    pub(super) fn is_full(&self, replica: u64) -> bool {
        self.processes.values().any(|process| process.replica == replica && process.full_until > self.now)
    }

    /// Has leaders whose disks are full hand over to voters that have room, as they do by themselves.
    pub(super) fn give_leaderships_up(&mut self, hosted: &Hosted) {
        let full = self.processes.values().filter(|process| process.full_until > self.now);
        let full: Vec<(u32, u64)> = full.flat_map(Process::replicas).collect();
        for (number, leader) in &full {
            let Some(group) = self.groups.get_mut(number) else { continue };
            if group.leader == Some(*leader) && self.rng.random_bool(0.3) {
                let has_room = |voter: &u64| !full.iter().any(|(_, replica)| replica == voter);
                if let Some(to) = group.live(hosted).into_iter().find(has_room) {
                    // One that hasn't caught up is refused for now.
                    let _ = group.hand_over(Some(to), hosted);
                }
            }
        }
    }
}
