//! The shard manager: which groups are founded, share the shards, and have them.

use std::collections::BTreeSet;

use rand::RngExt as _;
use skv_proto::v1;

use super::objects::{place, set_of};
use super::raft::{Group, Hosted};
use super::world::World;
use crate::servers::ManagerState;
use crate::testing::ranges;

#[derive(Debug, Default)]
pub(super) struct Manager {
    /// The number of replicas of each group that it wants.
    pub(super) replicas: u32,
    /// The number of groups of the first configuration.
    groups: u32,
    shards: usize,
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
                Some(("--shards", count)) => self.shards = count.parse().unwrap_or(0),
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
            (0..self.shards).map(|shard| sharing[shard % sharing.len()]).collect()
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
    pub(super) fn run_manager(&mut self, hosted: &Hosted) {
        let form = self.form;
        for set in self.objects.names("statefulsets") {
            for number in form.groups_of(&set) {
                self.groups.entry(number).or_insert_with(|| Group::new(number, form.ring));
            }
        }
        let works = self.manager.replicas > 0 && self.manager.silent_until <= self.now;
        if works {
            if self.manager.owners.is_empty() {
                self.found_first(hosted);
            } else {
                self.found_others(hosted);
            }
            self.take_out_retired();
            self.move_one();
        }
        for group in self.groups.values_mut() {
            group.joined |= self.manager.sharing.contains(&group.number);
        }
        self.forget(works);
    }

    /// Founds the groups of the first configuration together: without a record no other group is known.
    fn found_first(&mut self, hosted: &Hosted) {
        let (wanted, first) = (self.manager.replicas, 0..self.manager.groups);
        let waits = |group: &Group| group.waits(wanted, hosted);
        let all_wait = first.clone().all(|number| self.groups.get(&number).is_some_and(waits));
        if first.is_empty() || !all_wait || !self.rng.random_bool(0.5) {
            return;
        }
        for group in self.groups.values_mut().filter(|group| first.contains(&group.number)) {
            group.found(wanted, hosted, &mut self.rng);
        }
        self.manager.join(first);
        self.manager.owners = self.manager.plan();
    }

    /// Founds all other groups that wait for it, each by itself: they share the shards once they are asked to.
    fn found_others(&mut self, hosted: &Hosted) {
        for group in self.groups.values_mut() {
            if self.rng.random_bool(0.5) {
                group.found(self.manager.replicas, hosted, &mut self.rng);
            }
        }
    }

    /// Has retired groups share the shards no more, as soon as any other group does.
    fn take_out_retired(&mut self) {
        let retired = self.groups.values().filter(|group| group.retired).map(|group| group.number);
        let retired: BTreeSet<u32> = retired.collect();
        let sharing = &self.manager.sharing;
        if !sharing.is_disjoint(&retired) && !sharing.is_subset(&retired) {
            self.manager.sharing.retain(|group| !retired.contains(group));
            self.manager.configuration += 1;
        }
    }

    /// Moves a shard to where it should be, if both groups can.
    fn move_one(&mut self) {
        let plan = self.manager.plan();
        let elsewhere =
            (0..self.manager.owners.len()).find(|shard| plan.get(*shard) != self.manager.owners.get(*shard));
        let Some(shard) = elsewhere.filter(|_| self.rng.random_bool(0.5)) else { return };
        let Some(target) = plan.get(shard).copied() else { return };
        let is_led = |group: u32| self.groups.get(&group).is_some_and(|group| group.leader.is_some());
        // One that is retired takes nothing.
        let takes = self.groups.get(&target).is_some_and(|group| !group.retired);
        if takes && is_led(target) && is_led(self.manager.owners[shard]) {
            self.manager.owners[shard] = target;
        }
    }

    /// Forgets groups that have ended, once no shard is, or is to be, with them; one whose servers and objects
    /// are gone may be founded again.
    fn forget(&mut self, works: bool) {
        let (now, manager) = (self.now, &self.manager);
        for group in self.groups.values_mut().filter(|group| group.retired && !group.forgotten) {
            let has_share = manager.sharing.contains(&group.number) || manager.owned(group.number) > 0;
            group.forgotten = works && !has_share && now % 7 == 0;
        }
        let gone = |group: &u32| self.objects.get("statefulsets", &set_of(*group)).is_none();
        let over: Vec<u32> =
            self.groups.iter().filter(|(n, g)| g.forgotten && gone(n)).map(|(n, _)| *n).collect();
        for number in over {
            self.groups.remove(&number);
            let set = set_of(number);
            self.disks.retain(|server, _| place(server).is_none_or(|(of, _)| of != set));
        }
    }

    /// Returns what a shard manager answers; `None` if it can't be asked.
    pub(super) fn manager_state(&self) -> Option<ManagerState> {
        let manager = &self.manager;
        if manager.silent_until > self.now || manager.owners.is_empty() {
            return None;
        }
        let known = self.groups.values().filter(|group| group.is_known());
        let group = |group: &Group| v1::Group {
            id: group.number,
            uid: group.uid,
            disk_full: group.leader.is_some_and(|leader| self.is_full(leader)),
            ..v1::Group::default()
        };
        let plan = manager.plan();
        let moving = plan.iter().zip(&manager.owners).filter(|(wanted, owner)| wanted != owner).count();
        let map = v1::ShardMap {
            cluster_id: 7,
            configuration: manager.configuration,
            shards: manager.shards as u32,
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
