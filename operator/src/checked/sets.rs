//! The judge of StatefulSets: with fewer pods, or without its set, a group that lives loses no voter, and none
//! that owns shards ends. That is more than a majority asks for: members are taken out first, one by one. And no
//! set gets smaller before the shard manager wants fewer servers, which could have one more join.

use std::sync::Arc;

use serde_json::Value;

use super::api::Caller;
use super::controllers::is_of;
use super::judge::Truth;
use super::objects::{is_leaving, place};
use super::world::World;

impl World {
    /// Judges a set that is about to be written.
    pub(super) fn judge_set(&mut self, caller: Caller, name: &str, next: &Value) {
        let Caller::Operator(operator) = caller else { return };
        let before = self.objects.get("statefulsets", name).map(|set| replicas(set));
        let left = replicas(next);
        // While a set is made again there are the pods of the one before.
        if left < before.unwrap_or_else(|| self.pods_of(name)) {
            let stopping = self.of_stopping(operator, name, left);
            let haste = before.and_then(|_| self.of_haste(operator, name, left));
            self.judge.findings.extend(stopping.into_iter().chain(haste));
        }
    }

    /// Judges the deletion of a set.
    pub(super) fn judge_end_of_set(&mut self, caller: Caller, name: &str, leaves_pods: bool) {
        let Caller::Operator(operator) = caller else { return };
        let set = self.objects.get("statefulsets", name).filter(|_| !leaves_pods);
        let Some(set) = set else { return };
        let claims = self.objects.kind("persistentvolumeclaims");
        let going = claims.iter().find(|(_, claim)| is_of(claim, set) && !is_leaving(claim));
        let going = going.map(|(claim, _)| format!("{name} is deleted, and {claim} goes with it"));
        // Servers that were ordered to stop were judged then.
        let stopping = if replicas(set) > 0 { self.of_stopping(operator, name, 0) } else { Vec::new() };
        self.judge.findings.extend(stopping.into_iter().chain(going));
    }

    /// Returns all that is wrong with leaving only this number of a set's servers.
    fn of_stopping(&self, operator: usize, set: &str, left: u32) -> Vec<String> {
        let moments = self.moments_of(operator);
        let goes = |server: &String| place(server).is_some_and(|(_, ordinal)| ordinal >= left);
        // That no such server was a voter is no excuse if it could still become one.
        let fixed = moments.iter().position(|truth| truth.wanted <= left).unwrap_or(0);
        let mut said = Vec::new();
        for group in self.form.groups_of(set) {
            let takes_voter =
                |truth: &Arc<Truth>| truth.voting.get(&group).is_some_and(|servers| servers.iter().any(goes));
            if moments[fixed..].iter().all(takes_voter) {
                said.push(format!("{set} is left with {left} servers, and a voter goes"));
            }
            if left == 0 && moments.iter().all(|truth| truth.owning.contains(&group)) {
                said.push(format!("{set} is left without servers, and its group owns shards"));
            }
        }
        said
    }

    /// Says if the shard manager wanted more servers all the time. A group that ends has none join.
    fn of_haste(&self, operator: usize, set: &str, left: u32) -> Option<String> {
        let is_hasty = left > 0 && self.moments_of(operator).iter().all(|truth| truth.wanted > left);
        is_hasty.then(|| format!("{set} is left with {left} servers before the shard manager wants fewer"))
    }

    /// Returns the number of servers up to the last of a set that has a pod.
    fn pods_of(&self, set: &str) -> u32 {
        let places = self.objects.kind("pods").keys().filter_map(|pod| place(pod));
        places.filter(|(of, _)| *of == set).map(|(_, ordinal)| ordinal + 1).max().unwrap_or(0)
    }
}

fn replicas(set: &Value) -> u32 {
    set["spec"]["replicas"].as_u64().unwrap_or(1) as u32
}
