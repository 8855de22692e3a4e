//! The next step in each situation.

mod drain;
mod heal;
mod ring;
mod shareless;
mod surplus;

use std::collections::BTreeSet;

use skv_resource::{Placement, ShardedKvSpec};

use super::super::members::Leader;
use super::super::members::tests::statuses;
use super::super::situation::Abandoned;
use super::*;
use crate::claims::Claim;
use crate::names::Names;
use crate::observed::{Observed, ObservedSet};

const OLD: &str = "old";
const NEW: &str = "new";

fn of_group(number: u32) -> ServerSet {
    ServerSet::Group(GroupId(number))
}

/// Groups of three that are settled, and the faults that they can have.
pub(in crate::rollout) struct Scene {
    pub(in crate::rollout) resolved: Resolved,
    pub(in crate::rollout) replacing: Option<Replacing>,
    pub(in crate::rollout) servers: BTreeMap<ServerSet, ObservedServers>,
    members: BTreeMap<GroupId, Members>,
    shareless: BTreeSet<GroupId>,
    later: BTreeMap<GroupId, Leader>,
    lost_nodes: BTreeSet<String>,
    cordoned: BTreeSet<String>,
    managers_rolled_out: bool,
}

impl Scene {
    /// Makes a settled group whose pods are all up to date.
    pub(in crate::rollout) fn new(replicas: u32) -> Scene {
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        let spec = ShardedKvSpec { groups: 1, replicas, ..ShardedKvSpec::default() };
        let resolved = Resolved::of(names, &spec, &Observed::default()).unwrap();
        Scene {
            resolved: Resolved { restart_hash: NEW.to_owned(), ..resolved },
            replacing: None,
            servers: BTreeMap::new(),
            members: BTreeMap::new(),
            shareless: BTreeSet::new(),
            later: BTreeMap::new(),
            lost_nodes: BTreeSet::new(),
            cordoned: BTreeSet::new(),
            managers_rolled_out: true,
        }
        .with_group(0, replicas)
    }

    /// Makes a settled ring of `servers`, each of which leads its own group.
    fn ring(servers: u32, replicas: u32) -> Scene {
        let mut scene = Scene::new(1);
        scene.servers.clear();
        scene.resolved.spec = ShardedKvSpec {
            groups: servers,
            shards: servers,
            replicas,
            placement: Placement::Ring,
            ..ShardedKvSpec::default()
        };
        scene.have_servers(ServerSet::Ring, servers);
        let ring = scene.resolved.spec.ring().unwrap();
        for id in ring.groups() {
            let servers =
                ring.servers_of(id).map(|place| scene.resolved.names.server(ServerSet::Ring, place));
            let servers: Vec<String> = servers.collect();
            scene.have_members(id, &servers);
        }
        scene
    }

    pub(in crate::rollout) fn with_group(mut self, group: u32, replicas: u32) -> Scene {
        let set = of_group(group);
        self.have_servers(set, replicas);
        let servers: Vec<String> =
            (0..replicas).map(|ordinal| self.resolved.names.server(set, ordinal)).collect();
        self.have_members(GroupId(group), &servers);
        self
    }

    fn have_servers(&mut self, set: ServerSet, replicas: u32) {
        let pod = |ordinal| {
            let name = self.resolved.names.server(set, ordinal);
            let pod = ServerPod {
                uid: format!("uid-{name}"),
                ordinal,
                restart_hash: NEW.to_owned(),
                node: Some("node1".to_owned()),
                peer_address: Some(format!("{name}:7001")),
                state: PodState::Ready,
                name,
            };
            (ordinal, pod)
        };
        let made = ObservedSet {
            replicas,
            restart_hash: NEW.to_owned(),
            is_current: true,
            ..ObservedSet::default()
        };
        let pods = (0..replicas).map(pod).collect();
        self.servers.insert(set, ObservedServers { set: Some(made), pods, claims: Vec::new() });
    }

    /// Sets a group's members; the first of these servers leads.
    fn have_members(&mut self, id: GroupId, servers: &[String]) {
        let voters: Vec<u64> = (1..=servers.len() as u64).collect();
        let renamed = statuses(&voters).into_iter().map(|(server, mut status)| {
            let rename = |server: &str| servers[ordinal(server).unwrap() as usize].clone();
            let membership = status.membership.as_mut().unwrap().membership.as_mut().unwrap();
            membership.members.iter_mut().for_each(|member| member.server = rename(&member.server));
            (rename(&server), status)
        });
        let members = Members::from_statuses(&renamed.collect());
        self.later.insert(id, members.leader.clone().unwrap());
        self.members.insert(id, members);
    }

    /// Makes all pods outdated.
    fn outdated(mut self) -> Scene {
        for group in self.servers.values_mut() {
            group.pods.values_mut().for_each(|pod| OLD.clone_into(&mut pod.restart_hash));
        }
        self
    }

    pub(in crate::rollout) fn pod(&mut self, group: u32, ordinal: u32) -> &mut ServerPod {
        self.servers.get_mut(&of_group(group)).unwrap().pods.get_mut(&ordinal).unwrap()
    }

    fn leader(&mut self, group: u32) -> &mut Leader {
        self.members(group).leader.as_mut().unwrap()
    }

    /// Has a server of a group report that it isn't ready.
    pub(in crate::rollout) fn unready(&mut self, group: u32, ordinal: u32, state: PodState) {
        self.pod(group, ordinal).state = state;
        let server = self.resolved.names.server(of_group(group), ordinal);
        let members = self.members(group);
        let replica = members.hosted[&server];
        members.ready.remove(&replica);
    }

    /// Has a server of a group not answer.
    pub(in crate::rollout) fn silence(&mut self, group: u32, ordinal: u32) {
        let server = self.resolved.names.server(of_group(group), ordinal);
        let members = self.members(group);
        members.heard.remove(&server);
        let replica = members.hosted.remove(&server);
        members.ready.retain(|ready| Some(*ready) != replica);
    }

    /// Has a voter of a group lack the end of its leader's log.
    pub(in crate::rollout) fn lag(&mut self, group: u32, ordinal: u32) {
        let server = self.resolved.names.server(of_group(group), ordinal);
        let replica = self.members(group).hosted[&server];
        self.later.get_mut(&GroupId(group)).unwrap().matched.insert(replica, 9);
    }

    /// Takes a group's leader away. Then none of its servers is ready, for long by now.
    pub(in crate::rollout) fn lose_leader(&mut self, group: u32) {
        self.members(group).leader = None;
        self.members(group).ready.clear();
        for pod in self.servers.get_mut(&of_group(group)).unwrap().pods.values_mut() {
            pod.state = PodState::Stuck;
        }
    }

    /// Gives a group its first leader again, and all its servers.
    fn lead_again(&mut self, group: u32) {
        let leader = self.later[&GroupId(group)].clone();
        let members = self.members(group);
        members.leader = Some(leader);
        members.ready = members.voters.keys().copied().collect();
        for pod in self.servers.get_mut(&of_group(group)).unwrap().pods.values_mut() {
            pod.state = PodState::Ready;
        }
    }

    pub(in crate::rollout) fn members(&mut self, group: u32) -> &mut Members {
        self.members.get_mut(&GroupId(group)).unwrap()
    }

    /// Makes another replica the leader, counted from 1.
    fn lead(&mut self, group: u32, replica: ReplicaId) {
        let members = &self.members[&GroupId(group)];
        let (server, voters) = (members.voters[&replica].clone(), members.voters.clone().into_keys());
        let leader = self.leader(group);
        leader.replica = replica;
        leader.server = server;
        leader.matched = voters.filter(|id| *id != replica).map(|id| (id, 10)).collect();
        let leader = leader.clone();
        self.later.insert(GroupId(group), leader);
    }

    fn decide(&self) -> Decision {
        self.situation().decide()
    }

    /// Returns everything on which decisions rest.
    pub(in crate::rollout) fn situation(&self) -> Situation<'_> {
        Situation {
            resolved: &self.resolved,
            replacing: self.replacing.as_ref(),
            servers: &self.servers,
            members: &self.members,
            shareless: &self.shareless,
            later: &self.later,
            lost_nodes: &self.lost_nodes,
            cordoned: &self.cordoned,
            managers_rolled_out: self.managers_rolled_out,
        }
    }

    /// Returns the step as text; if there is none, the reason for waiting.
    fn next(&self) -> String {
        let decision = self.decide();
        match decision.step {
            Some(Step::Evict(pod)) => format!("evict {}", pod.name),
            Some(Step::Delete(pod)) => format!("delete {}", pod.name),
            Some(Step::ForceDelete(pod)) => format!("force {}", pod.name),
            Some(Step::Abandon(abandoned)) => format!("abandon {}", abandoned.pod.name),
            Some(Step::HandOver { server, to, .. }) => {
                format!("hand over {server} {}", to.map_or_else(|| "any".to_owned(), |to| to.0.to_string()))
            }
            Some(Step::Remove { server, .. }) => format!("remove {server}"),
            None => decision.doing.unwrap_or_else(|| "nothing".to_owned()),
        }
    }

    /// Takes every step until there is none, and returns them.
    fn steps(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        while self.decide().step.is_some() {
            steps.push(self.next());
            self.evolve();
        }
        steps
    }

    /// Takes the step as Kubernetes and the servers would.
    fn evolve(&mut self) {
        match self.decide().step.unwrap() {
            Step::Evict(gone)
            | Step::Delete(gone)
            | Step::ForceDelete(gone)
            | Step::Abandon(Abandoned { pod: gone, .. }) => {
                self.replacing = Some(Replacing { pod: gone.name.clone(), uid: gone.uid });
                let pods = self.servers.values_mut().flat_map(|group| group.pods.values_mut());
                let pod = { pods }.find(|pod| pod.name == gone.name).unwrap();
                NEW.clone_into(&mut pod.restart_hash);
                pod.uid.push('+');
                pod.state = PodState::Ready;
                for members in self.members.values_mut() {
                    members.ready.extend(members.hosted.get(&gone.name));
                }
            }
            Step::HandOver { group, to, .. } => {
                let leader = self.leader(group.0).replica;
                let mut others = self.members[&group].voters.keys().copied().filter(|id| *id != leader);
                let to = to.or_else(|| others.next_back()).unwrap();
                self.lead(group.0, to);
            }
            Step::Remove { group, replica, .. } => {
                self.members.get_mut(&group).unwrap().voters.remove(&replica);
            }
        }
    }
}

#[test]
fn nothing_is_done_where_nothing_differs() {
    let scene = Scene::new(3);
    assert_eq!(scene.next(), "nothing");
    assert!(!needs_look(&scene.resolved, None, true, &scene.servers));
}

#[test]
fn whatever_differs_is_a_reason_to_look() {
    let scene = Scene::new(3).outdated();
    assert!(needs_look(&scene.resolved, None, true, &scene.servers));
    let mut scene = Scene::new(3);
    scene.resolved.spec.replicas = 5;
    assert!(needs_look(&scene.resolved, None, true, &scene.servers));
    let mut scene = Scene::new(3);
    let replacing = Replacing { pod: "demo-g0-1".to_owned(), uid: "u".to_owned() };
    assert!(needs_look(&scene.resolved, Some(&replacing), true, &scene.servers));
    for ordinal in [0, 1] {
        scene.pod(0, ordinal).state = PodState::Starting;
    }
    assert!(needs_look(&scene.resolved, None, true, &scene.servers), "no majority is ready");
    assert!(!needs_look(&scene.resolved, None, false, &scene.servers), "it merely starts");
}

/// All steps of replacing three servers each of two groups.
const REPLACING_TWO_GROUPS: [&str; 8] = [
    "evict demo-g0-2",
    "evict demo-g0-1",
    "hand over demo-g0-0 any",
    "evict demo-g0-0",
    "evict demo-g1-2",
    "evict demo-g1-1",
    "hand over demo-g1-0 any",
    "evict demo-g1-0",
];

#[test]
fn groups_are_updated_one_after_the_other_followers_first_and_the_leader_last() {
    let mut scene = Scene::new(3).with_group(1, 3).outdated();
    assert_eq!(scene.steps(), REPLACING_TWO_GROUPS);
    assert_eq!(scene.next(), "nothing");
}

#[test]
fn the_only_replica_of_a_group_is_replaced_without_a_successor() {
    assert_eq!(Scene::new(1).outdated().next(), "evict demo-g0-0");
}

#[test]
fn nothing_that_works_is_taken_while_anything_is_amiss() {
    let waits = |change: &dyn Fn(&mut Scene), why: &str| {
        let mut scene = Scene::new(3).with_group(1, 3).outdated();
        change(&mut scene);
        assert_eq!(scene.next(), why);
    };
    waits(&|s| s.pod(1, 0).state = PodState::Starting, "waiting for g1: demo-g1-0 isn't ready");
    waits(&|s| s.pod(0, 0).state = PodState::Leaving, "waiting for g0: demo-g0-0 isn't ready");
    waits(
        &|s| drop(s.servers.get_mut(&of_group(1)).unwrap().pods.remove(&2)),
        "waiting for g1: demo-g1-2 isn't there",
    );
    waits(
        &|s| s.members.get_mut(&GroupId(0)).unwrap().leader = None,
        "waiting for g0: no leader says that it has a quorum",
    );
    waits(&|s| s.leader(0).changing = true, "waiting for g0: its members are changing");
    waits(
        &|s| {
            s.members.get_mut(&GroupId(1)).unwrap().hosted.insert("demo-g1-1".to_owned(), ReplicaId(99));
        },
        "waiting for g1: demo-g1-1 isn't a voter",
    );
    waits(
        &|s| s.servers.get_mut(&of_group(0)).unwrap().set.as_mut().unwrap().is_current = false,
        "waiting for g0: its StatefulSet has just changed",
    );
    waits(
        &|s| s.managers_rolled_out = false,
        "waiting for the shard manager, which is updated before the servers",
    );
}

const HAS_NO_LEADER: &str = "waiting for g2: demo-g2-0 isn't ready: it hasn't been for more than two minutes";
const AND_IS_KEPT: &str = "; demo-g2-0 stays as it is: g2 isn't seen to hold a majority without it";

#[test]
fn a_voter_that_lacks_what_the_leader_had_when_it_was_asked_has_not_caught_up() {
    let mut scene = Scene::new(3).outdated();
    let later = scene.later.get_mut(&GroupId(0)).unwrap();
    later.matched.insert(ReplicaId(2), 9);
    assert_eq!(scene.next(), "waiting for g0: demo-g0-1 hasn't caught up");
    // Later observations don't count.
    let later = scene.later.get_mut(&GroupId(0)).unwrap();
    later.matched.insert(ReplicaId(2), 10);
    later.last = 1000;
    assert_eq!(scene.next(), "evict demo-g0-2");
    // A report of another leader is no evidence.
    scene.later.get_mut(&GroupId(0)).unwrap().replica = ReplicaId(3);
    assert_eq!(scene.next(), "waiting for g0: demo-g0-1 hasn't caught up");
}

#[test]
fn what_was_begun_is_finished_first() {
    let mut scene = Scene::new(3).with_group(1, 3).outdated();
    scene.replacing = Some(Replacing { pod: "demo-g1-1".to_owned(), uid: "uid-demo-g1-1".to_owned() });
    assert_eq!(scene.next(), "evict demo-g1-1", "it was recorded, and not done");
    scene.evolve();
    scene.pod(1, 1).state = PodState::Down("ErrImagePull".to_owned());
    assert_eq!(scene.next(), "replacing demo-g1-1: demo-g1-1 isn't ready: ErrImagePull");
    scene.pod(1, 1).state = PodState::Ready;
    assert_eq!(scene.next(), "evict demo-g0-2");
    assert!(scene.decide().replaced);
}

#[test]
fn a_rollout_that_does_not_come_up_stops_at_its_first_pod_and_is_mended_by_the_specification() {
    let mut scene = Scene::new(3).outdated();
    scene.evolve();
    scene.pod(0, 2).state = PodState::Down("ErrImagePull".to_owned());
    assert_eq!(scene.next(), "replacing demo-g0-2: demo-g0-2 isn't ready: ErrImagePull");
    // The specification is corrected: the pod's own is out of date.
    "broken".clone_into(&mut scene.pod(0, 2).restart_hash);
    assert_eq!(scene.next(), "delete demo-g0-2");
    scene.evolve();
    assert_eq!(scene.next(), "evict demo-g0-1");
}

#[test]
fn a_pod_that_waits_is_not_deleted_before_its_successor_would_be_another() {
    let mut scene = Scene::new(3);
    scene.pod(0, 2).state = PodState::Down("CrashLoopBackOff".to_owned());
    OLD.clone_into(&mut scene.pod(0, 2).restart_hash);
    scene.servers.get_mut(&of_group(0)).unwrap().set.as_mut().unwrap().is_current = false;
    assert_eq!(scene.next(), "waiting for g0: its StatefulSet has just changed");
}

#[test]
fn a_replacement_that_is_not_wanted_any_more_is_over() {
    let mut scene = Scene::new(3);
    scene.replacing = Some(Replacing { pod: "demo-g0-1".to_owned(), uid: "uid-demo-g0-1".to_owned() });
    assert!(scene.decide().replaced, "its pod is up to date after all");
    scene.replacing = Some(Replacing { pod: "demo-g0-4".to_owned(), uid: "u".to_owned() });
    assert!(scene.decide().replaced, "the group is smaller now");
}

#[test]
fn fewer_replicas_leave_their_group_before_their_pods_go() {
    let mut scene = Scene::new(5);
    scene.resolved.spec.replicas = 3;
    scene.lead(0, ReplicaId(5));
    assert_eq!(scene.next(), "hand over demo-g0-4 1");
    assert_eq!(scene.decide().shrink, BTreeSet::new());
    scene.evolve();
    assert_eq!(scene.next(), "remove demo-g0-4");
    scene.evolve();
    assert_eq!(scene.next(), "remove demo-g0-3");
    assert_eq!(scene.decide().shrink, BTreeSet::new());
    scene.evolve();
    assert_eq!(scene.decide().shrink, [GroupId(0)].into());
    scene.servers.get_mut(&of_group(0)).unwrap().set.as_mut().unwrap().replicas = 3;
    assert_eq!(scene.next(), "nothing");
}

#[test]
fn a_member_that_joined_before_its_server_went_leaves_before_any_pod_is_taken() {
    let mut scene = Scene::new(5).outdated();
    scene.resolved.spec.replicas = 3;
    for ordinal in [3, 4] {
        scene.silence(0, ordinal);
        scene.servers.get_mut(&of_group(0)).unwrap().pods.remove(&ordinal);
    }
    scene.servers.get_mut(&of_group(0)).unwrap().set.as_mut().unwrap().replicas = 3;
    assert_eq!(scene.next(), "remove demo-g0-4");
    scene.replacing = Some(Replacing { pod: "demo-g0-1".to_owned(), uid: "uid-demo-g0-1".to_owned() });
    assert_eq!(scene.next(), "remove demo-g0-4", "an eviction that was recorded may take the majority");
}

#[test]
fn no_group_shrinks_while_the_shard_manager_may_have_surplus_servers_join() {
    let mut scene = Scene::new(3);
    scene.servers.get_mut(&of_group(0)).unwrap().set.as_mut().unwrap().replicas = 5;
    assert_eq!(scene.decide().shrink, [GroupId(0)].into());
    scene.managers_rolled_out = false;
    assert_eq!(scene.decide().shrink, BTreeSet::new());
}

#[test]
fn servers_that_are_to_go_need_not_work() {
    let mut scene = Scene::new(5);
    scene.resolved.spec.replicas = 3;
    scene.pod(0, 4).state = PodState::Down("ErrImagePull".to_owned());
    scene.later.get_mut(&GroupId(0)).unwrap().matched.remove(&ReplicaId(5));
    assert_eq!(scene.next(), "remove demo-g0-4");
}

#[test]
fn more_servers_that_do_not_come_up_are_mended_before_anything_else_goes_on() {
    let mut scene = Scene::new(5).outdated();
    for ordinal in [3, 4] {
        scene.pod(0, ordinal).state = PodState::Down("ErrImagePull".to_owned());
    }
    scene.pod(0, 3).uid.push('!');
    assert_eq!(scene.next(), "delete demo-g0-3");
    scene.evolve();
    assert_eq!(scene.next(), "delete demo-g0-4");
}

#[test]
fn a_group_whose_majority_is_gone_is_named_and_left_alone() {
    let mut scene = Scene::new(3).outdated();
    scene.lose_leader(0);
    let members = scene.members(0);
    members.hosted.insert("demo-g0-1".to_owned(), ReplicaId(12));
    members.hosted.insert("demo-g0-2".to_owned(), ReplicaId(13));
    let decision = scene.decide();
    assert_eq!((decision.lost, decision.step), (vec![GroupId(0)], None));
}
