//! The shard manager: which groups are founded, share the shards, and have them.

use std::collections::BTreeSet;

use rand::RngExt as _;
use skv_proto::v1;

use super::objects::{place, set_of};
use super::raft::Group;
use super::world::World;
use crate::servers::ManagerState;
use crate::testing::ranges;

const SHARDS: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Manager {
    /// The number of replicas of each group that it wants.
    pub(super) replicas: u32,
    /// The number of groups of the first configuration.
    groups: u32,
    /// The time at which the Deployment's new pods are there.
    pub(super) rolls_until: i64,
    pub(super) silent_until: i64,
    configuration: u64,
    pub(super) sharing: BTreeSet<u32>,
    /// The group that owns each shard; empty before the first configuration.
    owners: Vec<u32>,
}

impl Manager {
    /// Takes over the options of its Deployment.
    pub(super) fn obey<'a>(&mut self, options: impl Iterator<Item = &'a str>) {
        for option in options {
            match option.split_once('=') {
                Some(("--replicas", count)) => self.replicas = count.parse().unwrap_or(0),
                Some(("--groups", count)) => self.groups = count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// Returns the owner of each shard by the newest configuration.
    fn plan(&self) -> Vec<u32> {
        let sharing: Vec<u32> = self.sharing.iter().copied().collect();
        if sharing.is_empty() {
            Vec::new()
        } else {
            (0..SHARDS).map(|shard| sharing[shard % sharing.len()]).collect()
        }
    }

    pub(super) fn join(&mut self, groups: impl Iterator<Item = u32>) {
        self.sharing.extend(groups);
        self.configuration += 1;
    }

    pub(super) fn leave(&mut self, groups: &BTreeSet<u32>) -> Result<(), String> {
        if self.sharing.is_subset(groups) {
            return Err("no other group shares the shards".to_owned());
        }
        self.sharing.retain(|group| !groups.contains(group));
        self.configuration += 1;
        Ok(())
    }

    pub(super) fn owned(&self, group: u32) -> u32 {
        self.owners.iter().filter(|owner| **owner == group).count() as u32
    }

    pub(super) fn is_settled(&self) -> bool {
        self.owners == self.plan()
    }
}

impl World {
    /// Founds groups, moves shards, and forgets groups that have ended.
    pub(super) fn run_manager(&mut self) {
        let hosted = self.hosted();
        let works = self.manager.replicas > 0 && self.manager.silent_until <= self.now;
        for set in self.objects.names("statefulsets") {
            let Some((number, _)) = place(&format!("{set}-0")) else { continue };
            let group = self.groups.entry(number).or_insert_with(|| Group::new(number));
            if works && !group.retired && self.rng.random_bool(0.5) {
                group.found(self.manager.replicas, &hosted, &mut self.rng);
            }
        }
        self.forget();
        if !works {
            return;
        }
        let first = 0..self.manager.groups;
        let founded = |group: u32| self.groups.get(&group).is_some_and(Group::is_founded);
        if self.manager.owners.is_empty() && self.manager.groups > 0 && first.clone().all(founded) {
            self.manager.join(first);
            self.manager.owners = self.manager.plan();
        }
        self.move_one();
    }

    /// Moves a shard to where it should be, if both groups can.
    fn move_one(&mut self) {
        let plan = self.manager.plan();
        let elsewhere =
            (0..self.manager.owners.len()).find(|shard| plan.get(*shard) != self.manager.owners.get(*shard));
        let Some(shard) = elsewhere.filter(|_| self.rng.random_bool(0.5)) else { return };
        let Some(target) = plan.get(shard).copied() else { return };
        let is_led = |group: u32| self.groups.get(&group).is_some_and(|group| group.leader.is_some());
        if is_led(target) && is_led(self.manager.owners[shard]) {
            self.manager.owners[shard] = target;
        }
    }

    /// Forgets groups that have ended; one whose servers and objects are gone may be founded again.
    fn forget(&mut self) {
        let now = self.now;
        for group in self.groups.values_mut().filter(|group| group.retired && !group.forgotten) {
            group.forgotten = now % 7 == 0;
        }
        let gone = |group: &u32| self.objects.get("statefulsets", &set_of(*group)).is_none();
        let over: Vec<u32> =
            self.groups.iter().filter(|(n, g)| g.forgotten && gone(n)).map(|(n, _)| *n).collect();
        for number in over {
            self.groups.remove(&number);
            self.disks.retain(|server, _| place(server).is_none_or(|(group, _)| group != number));
        }
    }

    /// Returns what a shard manager answers; `None` if it can't be asked.
    pub(super) fn manager_state(&self) -> Option<ManagerState> {
        let manager = &self.manager;
        if manager.silent_until > self.now || manager.owners.is_empty() {
            return None;
        }
        let known = self.groups.values().filter(|group| group.is_founded() && !group.forgotten);
        let group = |group: &Group| v1::Group { id: group.number, uid: group.uid, ..v1::Group::default() };
        let plan = manager.plan();
        let moving = plan.iter().zip(&manager.owners).filter(|(wanted, owner)| wanted != owner).count();
        let map = v1::ShardMap {
            cluster_id: 7,
            configuration: manager.configuration,
            shards: SHARDS as u32,
            groups: known.map(group).collect(),
            ranges: ranges(&manager.owners),
            moving: moving as u32,
            ..v1::ShardMap::default()
        };
        let configuration = v1::Configuration {
            number: manager.configuration,
            groups: manager.sharing.iter().copied().collect(),
            ranges: ranges(&plan),
        };
        Some(ManagerState { map, configuration })
    }
}
