//! The way from an operator to the shard manager and the servers.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use serde_json::Value;
use skv_operator_plan::names::RESTART_HASH_ANNOTATION;
use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid, ReplicaId};

use super::line::Line;
use super::nodes::Process;
use super::objects::{NAME, claim_of, is_leaving, is_true};
use super::raft::Group;
use super::world::World;
use crate::servers::{ManagerState, Servers};

/// All processes of a world, at the end of an operator's line.
pub(super) struct Reach(pub(super) Line);

impl Servers for Reach {
    fn manager_state<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<ManagerState>> {
        Box::pin(self.0.ask(World::manager_state))
    }

    fn status<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::StatusResponse>> {
        Box::pin(self.0.ask(move |world| Some(world.status(world.at(address)?))))
    }

    fn hand_over<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        meant: v1::ReplicaIdentity,
        to: Option<ReplicaId>,
    ) -> BoxFuture<'a, Result<(), String>> {
        let to = to.map(|replica| replica.0);
        Box::pin(self.0.order(move |world| {
            let hosted = world.hosted();
            let group = world.led(address, group)?;
            if group.uid != meant.group_uid || group.leader != Some(meant.replica) {
                return Err("another replica is meant".to_owned());
            }
            group.hand_over(to, &hosted)
        }))
    }

    fn remove_replica<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
        replica: ReplicaId,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.0.order(move |world| {
            let hosted = world.hosted();
            let group = world.led(address, group)?;
            if group.uid != uid.0 {
                return Err("another group".to_owned());
            }
            group.remove(replica.0, &hosted)
        }))
    }

    fn join<'a>(&'a self, _: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.0.order(move |world| {
            let is_known = |group: &GroupId| world.groups.get(&group.0).is_some_and(Group::is_known);
            if !groups.iter().all(is_known) {
                return Err("a group isn't founded".to_owned());
            }
            world.manager.join(groups.iter().map(|group| group.0));
            Ok(())
        }))
    }

    fn leave<'a>(&'a self, _: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        let groups: BTreeSet<u32> = groups.iter().map(|group| group.0).collect();
        Box::pin(self.0.order(move |world| world.manager.leave(&groups)))
    }

    fn retire<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.0.order(move |world| {
            let owned = world.manager.owned(group.0);
            let group = world.led(address, group)?;
            if group.uid != uid.0 || owned > 0 {
                return Err("it has shards, or is another".to_owned());
            }
            group.retired = true;
            Ok(())
        }))
    }
}

impl World {
    /// Returns the server at an address, if it answers.
    fn at(&self, address: &str) -> Option<&Process> {
        let wanted = ip(address);
        let at = |process: &&Process| ip(&process.address) == wanted && process.hangs_until <= self.now;
        self.processes.values().find(at)
    }

    /// Returns a group, if the server at an address leads it.
    fn led(&mut self, address: &str, group: GroupId) -> Result<&mut Group, String> {
        let replica = self.at(address).ok_or("it doesn't answer")?.replica;
        let group = self.groups.get_mut(&group.0).ok_or("there is no such group")?;
        if group.leader == Some(replica) { Ok(group) } else { Err("it doesn't lead".to_owned()) }
    }

    /// Returns a server's answer.
    fn status(&self, process: &Process) -> v1::StatusResponse {
        let groups = process.groups.iter().filter_map(|group| self.groups.get(group));
        v1::StatusResponse {
            server: process.server.clone(),
            replicas: groups.map(|group| self.status_in(process, group)).collect(),
            ..v1::StatusResponse::default()
        }
    }

    fn status_in(&self, process: &Process, group: &Group) -> v1::ReplicaStatus {
        let replica = process.replica;
        let waiting = v1::ReplicaStatus {
            group: group.number,
            replica,
            state: v1::ReplicaState::Waiting as i32,
            ..v1::ReplicaStatus::default()
        };
        let Some((at, voters)) = group.known_to(replica).filter(|_| group.is_founded()) else {
            return waiting;
        };
        let state = match group.leader {
            Some(leader) if leader == replica => v1::ReplicaState::Leader,
            _ if voters.contains_key(&replica) => v1::ReplicaState::Follower,
            _ => v1::ReplicaState::Learner,
        };
        let log_id = |index: u64| Some(v1::LogId { term: group.term, replica: 1, index });
        let member = |(replica, server): (&u64, &String)| v1::membership::Member {
            replica: *replica,
            server: server.clone(),
        };
        let mut configs = vec![v1::membership::VoterSet { replicas: voters.keys().copied().collect() }];
        if group.changing {
            configs.push(configs[0].clone());
        }
        let membership = v1::Membership { configs, members: voters.iter().map(member).collect() };
        let leads = state == v1::ReplicaState::Leader;
        let peers = group.voters.iter().filter(|(peer, _)| leads && **peer != replica);
        let progress = |(peer, server): (&u64, &String)| v1::PeerProgress {
            replica: *peer,
            server: server.clone(),
            matched: log_id(group.has(*peer)),
            silent_ms: 1,
        };
        v1::ReplicaStatus {
            group_uid: group.uid,
            state: state as i32,
            ready: self.serves_in(process, group),
            term: group.term,
            leader: group.leader.unwrap_or(0),
            last_log: log_id(group.has(replica)),
            membership: Some(v1::StoredMembership { log_id: log_id(*at), membership: Some(membership) }),
            peers: peers.map(progress).collect(),
            shards_owned: self.manager.owned(group.number),
            disk_full: process.full_until > self.now,
            retired: group.retired,
            ..waiting
        }
    }

    /// Returns true if the shard manager runs as its Deployment says.
    pub(super) fn managers_rolled_out(&self) -> bool {
        self.objects.kind("deployments").values().all(|deployment| {
            let (status, wanted) = (&deployment["status"], &deployment["spec"]["replicas"]);
            status["observedGeneration"] == deployment["metadata"]["generation"]
                && status["updatedReplicas"] == *wanted
        })
    }

    /// Returns what keeps the store from being as the resource says.
    pub(super) fn unsettled(&self) -> Option<String> {
        let spec = self.spec();
        let (groups, replicas) = (spec["groups"].as_u64()?, spec["replicas"].as_u64().unwrap_or(3));
        let (wanted_sets, servers) = if self.form.ring.is_some() { (1, groups) } else { (groups, replicas) };
        let sets = self.objects.kind("statefulsets");
        if sets.len() as u64 != wanted_sets {
            return Some(format!("{} StatefulSets in place of {wanted_sets}", sets.len()));
        }
        let size = &spec["storage"]["size"];
        for (name, set) in sets {
            let grown = |claim: &Value| claim["spec"]["resources"]["requests"]["storage"] == *size;
            if !self.in_memory && !grown(&set["spec"]["volumeClaimTemplates"][0]) {
                return Some(format!("{name} makes volumes of another size than {size}"));
            }
            if set["spec"]["replicas"].as_u64() != Some(servers) {
                return Some(format!("{name} has {} replicas", set["spec"]["replicas"]));
            }
            let hash = |object: &Value| object["metadata"]["annotations"][RESTART_HASH_ANNOTATION].clone();
            let wanted = hash(&set["spec"]["template"]);
            for ordinal in 0..servers {
                let server = format!("{name}-{ordinal}");
                let Some(pod) = self.objects.get("pods", &server) else {
                    return Some(format!("no {server}"));
                };
                if !is_true(pod, "Ready") || hash(pod) != wanted {
                    return Some(format!("{server} isn't ready, or out of date"));
                }
                let claim = self.objects.get("persistentvolumeclaims", &claim_of(&server));
                if claim.is_some_and(|claim| !is_leaving(claim) && !grown(claim)) {
                    return Some(format!("the volume of {server} has another size than {size}"));
                }
            }
        }
        let is_shared = self.manager.is_settled() && self.manager.sharing.len() as u64 == groups;
        (!is_shared).then(|| format!("{NAME}: the shards are still on their way"))
    }
}

/// Returns the part of an address before its port.
fn ip(address: &str) -> &str {
    address.split(':').next().unwrap_or_default()
}
