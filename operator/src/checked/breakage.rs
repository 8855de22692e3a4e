//! Faults of some length: nodes that are gone for good, servers that end at each start, and disks that are full.

use rand::RngExt as _;

use super::nodes::{NodeState, Process};
use super::raft::{Group, Hosted};
use super::world::World;

/// The number of nodes that stay.
const NODES: usize = 4;

impl World {
    /// Removes a node for good, with all that runs on it, if there are others enough.
    pub(super) fn remove_some_node(&mut self) {
        let nodes: Vec<String> = self.nodes.keys().cloned().collect();
        let all_work = self.nodes.values().all(|node| node.state == NodeState::Up);
        let Some(name) = self.some(&nodes).filter(|_| all_work && nodes.len() > NODES) else { return };
        self.nodes.remove(&name);
        self.objects.remove("nodes", &name);
        self.processes.retain(|_, process| process.node != name);
    }

    /// Ends a server, and each that starts in its pod, for a while. In memory that takes a replica for good, so
    /// that its group must be whole: groups whose majority is lost show nothing more.
    pub(super) fn crash_a_server(&mut self) {
        let hosted = self.hosted();
        let is_whole = |group: &Group| group.live(&hosted).len() == group.voters.len();
        let in_whole_group = |process: &Process| self.groups.get(&process.group).is_some_and(is_whole);
        let spared = self.processes.iter().filter(|(_, process)| !self.in_memory || in_whole_group(process));
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
        let full: Vec<(u32, u64)> = full.map(|process| (process.group, process.replica)).collect();
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
