//! The judge: compares what an operator does with what was true at some moment of its pass. What breaks, or
//! what another operator changes, between its look and its step isn't its doing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::api::Caller;
use super::nodes::NodeState;
use super::objects::{claim_of, is_leaving, place, server_of};
use super::raft::{Group, Hosted};
use super::records::Recorded;
use super::world::World;

/// The number of entries by which a replica that is back may still lag.
const NEARLY: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The facts at each moment of the pass of each operator.
    moments: BTreeMap<usize, Vec<Arc<Truth>>>,
    /// The number of pods that operators had taken when each operator last looked at the pods in its pass.
    looks: BTreeMap<usize, u64>,
    /// The servers of voters that operators took from each group, and that aren't back yet, with the uids of
    /// the pods that went.
    away: BTreeMap<u32, BTreeMap<String, String>>,
    /// The servers that operators recorded as replaced.
    pub(super) recorded: Recorded,
    pub(super) findings: Vec<String>,
    /// The number of writes, of Events, and of changes that operators made by their writes.
    pub(super) writes: u64,
    pub(super) events: u64,
    pub(super) changes: u64,
    /// The number of pods that operators took.
    pub(super) taken: u64,
}

/// The facts that a pass may rely on.
#[derive(Debug)]
pub(super) struct Truth {
    /// The voters of each group that run and have caught up.
    live: BTreeMap<u32, BTreeSet<u64>>,
    led: BTreeSet<u32>,
    /// The replicas that run.
    running: BTreeSet<u64>,
    answering_nodes: BTreeSet<String>,
    managers_rolled_out: bool,
    /// The number of replicas of each group that the shard manager wants.
    pub(super) wanted: u32,
    /// The servers of the voters of each group that lives.
    pub(super) voting: BTreeMap<u32, BTreeSet<String>>,
    /// The groups that own shards.
    pub(super) owning: BTreeSet<u32>,
}

impl World {
    /// Notes the beginning of a pass.
    pub(super) fn judge_pass(&mut self, operator: usize) {
        let truth = self.truth(&self.hosted());
        self.judge.moments.insert(operator, vec![Arc::new(truth)]);
        self.judge.looks.remove(&operator);
    }

    fn truth(&self, hosted: &Hosted) -> Truth {
        let nearly = |group: &Group| {
            let mut live = group.live(hosted);
            live.retain(|replica| group.has(*replica) + NEARLY >= group.last);
            live
        };
        let living = self.groups.iter().filter(|(_, group)| !group.retired);
        let up = self.nodes.iter().filter(|(_, node)| node.state == NodeState::Up);
        Truth {
            live: self.groups.iter().map(|(number, group)| (*number, nearly(group))).collect(),
            led: self.groups.iter().filter(|(_, group)| group.leader.is_some()).map(|(n, _)| *n).collect(),
            running: self.processes.values().map(|process| process.replica).collect(),
            answering_nodes: up.map(|(name, _)| name.clone()).collect(),
            managers_rolled_out: self.managers_rolled_out(),
            wanted: self.manager.replicas,
            voting: living.map(|(n, group)| (*n, group.voters.values().cloned().collect())).collect(),
            owning: self.groups.keys().copied().filter(|group| self.manager.owned(*group) > 0).collect(),
        }
    }

    /// Notes the end of a pass.
    pub(super) fn judge_end(&mut self, operator: usize) {
        self.judge.moments.remove(&operator);
    }

    /// Forgets who is back, or votes no more; and notes the facts for the passes under way.
    pub(super) fn judge_tick(&mut self, hosted: &Hosted) {
        if !self.judge.moments.is_empty() {
            let truth = Arc::new(self.truth(hosted));
            for moments in self.judge.moments.values_mut() {
                moments.push(Arc::clone(&truth));
            }
        }
        for (number, away) in &mut self.judge.away {
            let Some(group) = self.groups.get(number) else {
                away.clear();
                continue;
            };
            away.retain(|server, uid| {
                // The pod that was taken may run for a while yet.
                let mut others = self.processes.iter().filter(|(other, _)| **other != *uid);
                let is_back = others.any(|(_, process)| {
                    process.server == *server
                        && process.hangs_until <= self.now
                        && group.voters.contains_key(&process.replica)
                        && group.has(process.replica) + NEARLY >= group.last
                });
                group.voters.values().any(|on| on == server) && !is_back
            });
        }
    }

    pub(super) fn judge_write(&mut self) {
        self.judge.writes += 1;
    }

    /// Notes that an operator looks at all pods.
    pub(super) fn judge_look(&mut self, caller: Caller, kind: &str) {
        if let (Caller::Operator(operator), "pods") = (caller, kind) {
            self.judge.looks.insert(operator, self.judge.taken);
        }
    }

    /// Judges an eviction, by which pods are replaced that work: the shard manager's turn is before theirs.
    pub(super) fn judge_eviction(&mut self, caller: Caller, name: &str) {
        let Caller::Operator(operator) = caller else { return };
        if !self.moments_of(operator).iter().any(|truth| truth.managers_rolled_out) {
            self.judge.findings.push(format!("{name} is evicted before the shard manager is rolled out"));
        }
    }

    /// Judges the deletion of a pod.
    pub(super) fn judge_deletion(&mut self, caller: Caller, name: &str, pod: &Value, at_once: bool) {
        let Caller::Operator(operator) = caller else { return };
        if is_leaving(pod) {
            if at_once {
                let findings = self.of_letting_go(operator, name, pod);
                self.judge.findings.extend(findings);
            }
            return;
        }
        let findings = self.of_taking(operator, name, pod);
        self.judge.findings.extend(findings);
        self.judge.taken += 1;
        let group = self.voter_in(pod).map(|(group, _)| group.number);
        if let Some((group, uid)) = group.zip(pod["metadata"]["uid"].as_str()) {
            self.judge.away.entry(group).or_default().insert(name.to_owned(), uid.to_owned());
        }
    }

    /// Judges the deletion of a claim, with which the data on its volume go.
    pub(super) fn judge_claim(&mut self, caller: Caller, name: &str, claim: &Value) {
        let Caller::Operator(operator) = caller else { return };
        let server = server_of(name);
        if !is_leaving(claim) && !self.judge.recorded.has(server) {
            self.judge.findings.push(format!("{name} is given up, and no record says so"));
        }
        let Some((group, replica)) = self.voter_on_disk(server) else { return };
        let finding = self.takes_majority(operator, server, group, replica);
        self.judge.findings.extend(finding);
    }

    /// Returns all that is wrong with taking a pod that isn't being deleted.
    fn of_taking(&self, operator: usize, name: &str, pod: &Value) -> Vec<String> {
        let Some((group, replica)) = self.voter_in(pod) else { return Vec::new() };
        let mut said = Vec::new();
        if self.was_crashing(operator, pod, replica) {
            return said;
        }
        if self.judge.looks.get(&operator) != Some(&self.judge.taken) {
            said.push(format!("{name} is taken by a look from before the last step"));
        }
        let is_live =
            |truth: &Arc<Truth>| truth.live.get(&group.number).is_some_and(|l| l.contains(&replica));
        let away = self.judge.away.get(&group.number).into_iter().flat_map(BTreeMap::keys);
        // One that doesn't work is away already.
        if let Some(other) = { away }.find(|server| *server != name)
            && self.moments_of(operator).iter().any(is_live)
        {
            said.push(format!("{name} is taken while {other} isn't back"));
        }
        said.extend(self.takes_majority(operator, name, group, replica));
        said.extend(self.takes_data(operator, name, group, replica));
        said
    }

    /// Returns all that is wrong with letting go of a pod that is being deleted.
    fn of_letting_go(&self, operator: usize, name: &str, pod: &Value) -> Vec<String> {
        let mut said = Vec::new();
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if self.moments_of(operator).iter().all(|truth| truth.answering_nodes.contains(node)) {
            said.push(format!("{name} is let go, and its node {node} answers"));
        }
        let voter = self.voter_in(pod).or_else(|| self.voter_on_disk(name));
        let Some((group, replica)) = voter else { return said };
        let claim = self.objects.get("persistentvolumeclaims", &claim_of(name));
        if claim.is_some_and(|claim| !is_leaving(claim)) {
            said.push(format!("{name} is let go, and its volume stays"));
        }
        said.extend(self.takes_majority(operator, name, group, replica));
        said
    }

    /// Returns true if a pod's server had crashed, and didn't run at some moment of an operator's pass.
    fn was_crashing(&self, operator: usize, pod: &Value, replica: u64) -> bool {
        pod["metadata"]["uid"].as_str().is_some_and(|uid| self.crashing.contains_key(uid))
            && self.moments_of(operator).iter().any(|truth| !truth.running.contains(&replica))
    }

    /// Returns the facts at each moment of an operator's pass, and now.
    pub(super) fn moments_of(&self, operator: usize) -> Vec<Arc<Truth>> {
        let mut moments = self.judge.moments.get(&operator).cloned().unwrap_or_default();
        moments.push(Arc::new(self.truth(&self.hosted())));
        moments
    }

    /// Returns the voter that runs in a pod, with its group.
    fn voter_in(&self, pod: &Value) -> Option<(&Group, u64)> {
        let process = self.processes.get(pod["metadata"]["uid"].as_str()?)?;
        self.voter(process.group, process.replica)
    }

    /// Returns the voter whose data a server's volume has, with its group.
    fn voter_on_disk(&self, server: &str) -> Option<(&Group, u64)> {
        self.voter(place(server)?.0, *self.disks.get(server)?)
    }

    fn voter(&self, group: u32, replica: u64) -> Option<(&Group, u64)> {
        let group = self.groups.get(&group).filter(|group| !group.retired)?;
        group.voters.contains_key(&replica).then_some((group, replica))
    }

    /// Says if a group that worked has no majority, or no leader, without a replica.
    fn takes_majority(&self, operator: usize, name: &str, group: &Group, replica: u64) -> Option<String> {
        let moments = self.moments_of(operator);
        let is_alone = group.voters.len() == 1;
        let is_needed = |truth: &Arc<Truth>| {
            let mut live = truth.live.get(&group.number).cloned().unwrap_or_default();
            live.remove(&replica);
            !group.is_majority(&live)
        };
        if !is_alone && moments.iter().all(is_needed) {
            return Some(format!("{name} is taken, without which its group has no majority"));
        }
        // Before a group is founded there are neither data nor voters. It is founded with all its servers, of
        // which one may go, and has its leader a little later.
        let is_founded =
            |truth: &Arc<Truth>| truth.voting.get(&group.number).is_some_and(|servers| !servers.is_empty());
        let is_leaderless = |truth: &Arc<Truth>| is_founded(truth) && !truth.led.contains(&group.number);
        let all_leaderless = self.in_memory && moments.iter().all(is_leaderless);
        all_leaderless.then(|| format!("{name} is taken from a group in memory that has no leader"))
    }

    /// Says if what only memory has is lost with a replica.
    fn takes_data(&self, operator: usize, name: &str, group: &Group, replica: u64) -> Option<String> {
        let is_last = |truth: &Arc<Truth>| {
            let others = group.voters.keys().filter(|other| **other != replica);
            others.filter(|other| truth.running.contains(*other)).count() * 2 < group.voters.len()
        };
        let is_lost =
            self.in_memory && group.voters.len() > 1 && self.moments_of(operator).iter().all(is_last);
        is_lost.then(|| format!("{name} is taken, and with it the last majority in memory"))
    }

    /// Returns true if a group can't come back: most of its voters are nowhere any more.
    pub(super) fn is_lost_for_good(&self) -> bool {
        self.groups.values().filter(|group| group.is_founded() && !group.retired).any(|group| {
            let exists = |(replica, server): &(&u64, &String)| {
                let runs = self.processes.values().any(|process| process.replica == **replica);
                runs || self.disks.get(*server) == Some(*replica)
            };
            let left = group.voters.iter().filter(exists).count();
            // One that never was to have shards is founded once more when none is left.
            left * 2 <= group.voters.len() && (left > 0 || group.joined)
        })
    }
}
