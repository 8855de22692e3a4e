//! The judge: compares what an operator does with what was true at some moment of its pass. What breaks, or
//! what another operator changes, between its look and its step isn't its doing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use skv_sharding::Ring;

use super::api::{Caller, Taking};
use super::nodes::NodeState;
use super::objects::{claim_of, is_leaving, server_of};
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
    /// The number of servers of each set that the shard manager wants.
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
            wanted: self.form.ring.map_or(self.manager.replicas, Ring::servers),
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
    pub(super) fn judge_deletion(
        &mut self,
        caller: Caller,
        name: &str,
        pod: &Value,
        at_once: bool,
        how: Taking,
    ) {
        let Caller::Operator(operator) = caller else { return };
        if is_leaving(pod) {
            if at_once {
                let findings = self.of_letting_go(operator, name, pod);
                self.judge.findings.extend(findings);
            }
            return;
        }
        let findings = self.of_taking(operator, name, pod, how);
        self.judge.findings.extend(findings);
        self.judge.taken += 1;
        let groups: Vec<u32> = self.voters_in(pod).iter().map(|(group, _)| group.number).collect();
        let Some(uid) = pod["metadata"]["uid"].as_str() else { return };
        for group in groups {
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
        // The resource wants volumes that are given up to be kept.
        if !is_leaving(claim) && !self.is_kept(claim) {
            self.judge.findings.push(format!("{name} is given up, and its volume goes with it"));
        }
        let mut said = Vec::new();
        for (group, replica) in self.voters_on_disk(server) {
            said.extend(self.takes_majority(operator, server, group, replica));
        }
        self.judge.findings.extend(said);
    }

    /// Returns all that is wrong with taking a pod that isn't being deleted.
    fn of_taking(&self, operator: usize, name: &str, pod: &Value, how: Taking) -> Vec<String> {
        let voters = self.voters_in(pod);
        let was_crashing = |(_, replica): &(&Group, u64)| self.was_crashing(operator, pod, *replica);
        let mut said = Vec::new();
        if voters.is_empty() || voters.iter().any(was_crashing) {
            return said;
        }
        if self.judge.looks.get(&operator) != Some(&self.judge.taken) {
            said.push(format!("{name} is taken by a look from before the last step"));
        }
        for (group, replica) in voters {
            said.extend(self.of_taking_voter(operator, name, (group, replica), how));
        }
        said
    }

    /// Returns all that is wrong with taking a pod from a group in which its server votes.
    fn of_taking_voter(
        &self,
        operator: usize,
        name: &str,
        (group, replica): (&Group, u64),
        how: Taking,
    ) -> Vec<String> {
        let mut said = Vec::new();
        let is_live =
            |truth: &Arc<Truth>| truth.live.get(&group.number).is_some_and(|l| l.contains(&replica));
        let away = self.judge.away.get(&group.number).into_iter().flat_map(BTreeMap::keys);
        // One that doesn't work is away already.
        if let Some(other) = { away }.find(|server| *server != name)
            && self.moments_of(operator).iter().any(is_live)
        {
            said.push(format!("{name} is taken while {other} isn't back"));
        }
        // A roll evicts. A pod that is deleted is one that was seen not to work.
        let may_go = how == Taking::Evicts || !self.moments_of(operator).iter().all(is_live);
        if !may_go || !self.is_too_small(operator, group) {
            said.extend(self.takes_majority(operator, name, group, replica));
        }
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
        let running = self.voters_in(pod);
        let voters = if running.is_empty() { self.voters_on_disk(name) } else { running };
        if voters.is_empty() {
            return said;
        }
        let claim = self.objects.get("persistentvolumeclaims", &claim_of(name));
        if claim.is_some_and(|claim| !is_leaving(claim)) {
            said.push(format!("{name} is let go, and its volume stays"));
        }
        for (group, replica) in voters {
            said.extend(self.takes_majority(operator, name, group, replica));
        }
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

    /// Returns the voters that run in a pod, each with its group: in a ring there are several.
    fn voters_in(&self, pod: &Value) -> Vec<(&Group, u64)> {
        let process = pod["metadata"]["uid"].as_str().and_then(|uid| self.processes.get(uid));
        process.map_or_else(Vec::new, |process| self.voters(&process.groups, process.replica))
    }

    /// Returns the voters whose data a server's volume has, each with its group.
    fn voters_on_disk(&self, server: &str) -> Vec<(&Group, u64)> {
        let replica = self.disks.get(server);
        replica.map_or_else(Vec::new, |replica| self.voters(&self.form.hosted_by(server), *replica))
    }

    fn voters(&self, groups: &[u32], replica: u64) -> Vec<(&Group, u64)> {
        let living = groups.iter().filter_map(|group| self.groups.get(group)).filter(|group| !group.retired);
        let voting = living.filter(|group| group.voters.contains_key(&replica));
        voting.map(|group| (group, replica)).collect()
    }

    /// Returns true if a group can't do without any of its voters, so that a roll takes its majority by design: it has
    /// one, or the two of a ring. Two voters of a group that has servers of its own are on their way to one or to
    /// three, and none of them may be taken.
    fn is_too_small(&self, operator: usize, group: &Group) -> bool {
        let most = if self.form.ring.is_some() { 2 } else { 1 };
        let is_small = |truth: &Arc<Truth>| {
            let voting = truth.voting.get(&group.number);
            voting.is_some_and(|servers| (1..=most).contains(&servers.len()))
        };
        self.moments_of(operator).iter().any(is_small)
    }

    /// Says if a group that worked has no majority, or no leader, without a replica.
    fn takes_majority(&self, operator: usize, name: &str, group: &Group, replica: u64) -> Option<String> {
        let moments = self.moments_of(operator);
        let is_needed = |truth: &Arc<Truth>| {
            let mut live = truth.live.get(&group.number).cloned().unwrap_or_default();
            live.remove(&replica);
            !group.is_majority(&live)
        };
        if moments.iter().all(is_needed) {
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
        let is_lost = self.in_memory && self.moments_of(operator).iter().all(is_last);
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
