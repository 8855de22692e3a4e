//! The judge: compares what an operator does with what was true at some moment of its pass. What breaks, or
//! what another operator changes, between its look and its step isn't its doing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::api::Caller;
use super::nodes::{NodeState, Process};
use super::objects::is_leaving;
use super::raft::{Group, Hosted};
use super::world::World;

/// The seconds after which a replica that is back must have nearly everything to count as back.
const NEARLY: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The facts at each moment of the pass of each operator.
    moments: BTreeMap<usize, Vec<Truth>>,
    /// The voters that operators took from each group, and that aren't back yet, with their servers.
    away: BTreeMap<u32, BTreeMap<u64, String>>,
    pub(super) findings: Vec<String>,
    /// The number of writes, and of pods that operators took.
    pub(super) writes: u64,
    pub(super) taken: u64,
}

/// The facts that a pass may rely on.
#[derive(Debug, Clone, Default)]
struct Truth {
    /// The voters of each group that run and have caught up.
    live: BTreeMap<u32, BTreeSet<u64>>,
    led: BTreeSet<u32>,
    answering_nodes: BTreeSet<String>,
    managers_rolled_out: bool,
}

impl World {
    /// Notes the beginning of a pass.
    pub(super) fn judge_pass(&mut self, operator: usize) {
        let truth = self.truth();
        self.judge.moments.insert(operator, vec![truth]);
    }

    fn truth(&self) -> Truth {
        let hosted = self.hosted();
        let nearly = |group: &Group| {
            let mut live = group.live(&hosted);
            live.retain(|replica| group.has(*replica) + NEARLY >= group.last);
            live
        };
        let up = self.nodes.iter().filter(|(_, node)| node.state == NodeState::Up);
        Truth {
            live: self.groups.iter().map(|(number, group)| (*number, nearly(group))).collect(),
            led: self.groups.iter().filter(|(_, group)| group.leader.is_some()).map(|(n, _)| *n).collect(),
            answering_nodes: up.map(|(name, _)| name.clone()).collect(),
            managers_rolled_out: self.managers_rolled_out(),
        }
    }

    /// Notes the end of a pass.
    pub(super) fn judge_end(&mut self, operator: usize) {
        self.judge.moments.remove(&operator);
    }

    /// Forgets who is back, or votes no more; and notes the facts for the passes under way.
    pub(super) fn judge_tick(&mut self, hosted: &Hosted) {
        if !self.judge.moments.is_empty() {
            let truth = self.truth();
            for moments in self.judge.moments.values_mut() {
                moments.push(truth.clone());
            }
        }
        for (number, away) in &mut self.judge.away {
            let Some(group) = self.groups.get(number) else {
                away.clear();
                continue;
            };
            away.retain(|replica, server| {
                let is_back =
                    hosted.get(server) == Some(replica) && group.has(*replica) + NEARLY >= group.last;
                group.voters.contains_key(replica) && !is_back
            });
        }
    }

    pub(super) fn judge_write(&mut self) {
        self.judge.writes += 1;
    }

    /// Judges an eviction, by which pods are replaced that work: the shard manager's turn is before theirs.
    pub(super) fn judge_eviction(&mut self, caller: Caller, name: &str) {
        let Caller::Operator(operator) = caller else { return };
        let moments = self.judge.moments.get(&operator).into_iter().flatten();
        if !moments.chain([&self.truth()]).any(|truth| truth.managers_rolled_out) {
            self.find(format!("{name} is evicted before the shard manager is rolled out"));
        }
    }

    /// Judges the deletion of a pod.
    pub(super) fn judge_deletion(&mut self, caller: Caller, name: &str, pod: &Value, at_once: bool) {
        let Caller::Operator(operator) = caller else { return };
        self.judge.taken += 1;
        let mut moments = self.judge.moments.get(&operator).cloned().unwrap_or_default();
        moments.push(self.truth());
        if is_leaving(pod) {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            if at_once && moments.iter().all(|truth| truth.answering_nodes.contains(node)) {
                self.find(format!("{name} is let go, and its node {node} answers"));
            }
            return;
        }
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let Some(process) = self.processes.get(uid).cloned() else { return };
        let Some(group) = self.groups.get(&process.group).filter(|group| !group.retired) else { return };
        if !group.voters.contains_key(&process.replica) {
            return;
        }
        let mut said: Vec<String> = Vec::new();
        let away = self.judge.away.get(&process.group);
        let other = away.into_iter().flatten().find(|(replica, _)| **replica != process.replica);
        if let Some((_, other)) = other {
            said.push(format!("{name} is taken while {other} isn't back"));
        }
        said.extend(self.takes_majority(&process, group, &moments));
        said.extend(self.takes_data(&process, group));
        for finding in said {
            self.find(finding);
        }
        self.judge.away.entry(process.group).or_default().insert(process.replica, process.server);
    }

    /// Says if a group that worked has no majority, or no leader, without a replica.
    fn takes_majority(&self, process: &Process, group: &Group, moments: &[Truth]) -> Option<String> {
        let name = &process.server;
        let is_alone = group.voters.len() == 1;
        let is_needed = |truth: &Truth| {
            let mut live = truth.live.get(&process.group).cloned().unwrap_or_default();
            live.remove(&process.replica);
            !group.is_majority(&live)
        };
        if !is_alone && moments.iter().all(is_needed) {
            return Some(format!("{name} is taken, without which its group has no majority"));
        }
        let is_leaderless = |truth: &Truth| !truth.led.contains(&process.group);
        let all_leaderless = self.in_memory && moments.iter().all(is_leaderless);
        all_leaderless.then(|| format!("{name} is taken from a group in memory that has no leader"))
    }

    /// Says if what only memory has is lost with a replica.
    fn takes_data(&self, process: &Process, group: &Group) -> Option<String> {
        let exists = |(replica, server): &(&u64, &String)| {
            self.processes.values().any(|other| other.replica == **replica && other.server == **server)
        };
        let others =
            group.voters.iter().filter(|(replica, _)| **replica != process.replica).filter(exists).count();
        let is_lost = self.in_memory && group.voters.len() > 1 && others * 2 < group.voters.len();
        is_lost.then(|| format!("{} is taken, and with it the last majority in memory", process.server))
    }

    fn find(&mut self, finding: String) {
        self.judge.findings.push(finding);
    }

    /// Returns true if a group can't come back: most of its voters are nowhere any more.
    pub(super) fn is_lost_for_good(&self) -> bool {
        self.groups.values().filter(|group| group.is_founded() && !group.retired).any(|group| {
            let exists = |(replica, server): &(&u64, &String)| {
                let runs = self.processes.values().any(|process| process.replica == **replica);
                runs || self.disks.get(*server) == Some(*replica)
            };
            group.voters.iter().filter(exists).count() * 2 <= group.voters.len()
        })
    }
}
