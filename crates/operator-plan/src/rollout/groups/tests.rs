//! Groups that come and go.

use skv_resource::ShardedKvSpec;

use super::super::members::Leader;
use super::*;
use crate::claims::{Binding, Claim};
use crate::names::Names;
use crate::observed::{Observed, ObservedMap};
use crate::pods::{PodState, ServerPod};

/// Groups of three servers, and all facts about them.
struct Scene {
    names: Names,
    spec: ShardedKvSpec,
    groups: BTreeMap<GroupId, ObservedServers>,
    members: BTreeMap<GroupId, Members>,
    assignment: Option<Assignment>,
    lost_nodes: BTreeSet<String>,
}

impl Scene {
    /// Returns a scene in which the first number of groups share the shards, and the second is asked for.
    fn new(there: u32, asked_for: u32) -> Scene {
        let mut scene = Scene {
            names: Names { resource: "demo".to_owned(), namespace: "prod".to_owned() },
            spec: ShardedKvSpec { groups: asked_for, ..ShardedKvSpec::default() },
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            assignment: Some(Assignment::default()),
            lost_nodes: BTreeSet::new(),
        };
        for group in 0..there {
            scene.start(group);
            scene.found(group);
            scene.map().sharing.insert(GroupId(group));
            scene.own(group, 240 / there);
        }
        scene
    }

    /// Gives a group servers, which wait.
    fn start(&mut self, group: u32) {
        let name = self.names.servers_of(ServerSet::Group(GroupId(group)));
        let pod = |ordinal| {
            let pod = ServerPod {
                name: format!("{name}-{ordinal}"),
                uid: format!("uid-{ordinal}"),
                ordinal,
                restart_hash: String::new(),
                node: Some(format!("node{ordinal}")),
                peer_address: Some(format!("{name}-{ordinal}:7001")),
                state: PodState::Starting,
            };
            (ordinal, pod)
        };
        let set = ObservedSet { replicas: 3, is_current: true, ..ObservedSet::default() };
        let claim = |ordinal| Claim {
            name: format!("data-{name}-{ordinal}"),
            binding: Binding::Bound,
            ..Claim::default()
        };
        let claims = (0..3).map(claim).collect();
        let seen = ObservedServers { set: Some(set), pods: (0..3).map(pod).collect(), claims };
        self.groups.insert(GroupId(group), seen);
        let waiting = (0..3).map(|ordinal| format!("{name}-{ordinal}")).collect();
        self.members.insert(GroupId(group), Members { waiting, ..Members::default() });
    }

    /// Founds a group, and makes its servers ready.
    fn found(&mut self, group: u32) {
        let uid = GroupUid(u64::from(group) + 100);
        self.map().founded.insert(GroupId(group), uid);
        for pod in self.group(group).pods.values_mut() {
            pod.state = PodState::Ready;
        }
        let leader = Leader {
            server: format!("demo-g{group}-0"),
            replica: skv_sharding::ReplicaId(1),
            uid,
            cluster: skv_sharding::ClusterId(7),
            incarnation: skv_sharding::Incarnation(0),
            changing: false,
            last: 10,
            matched: BTreeMap::new(),
            owned: 0,
            arriving: 0,
        };
        let members = Members { leader: Some(leader), lives: true, ..Members::default() };
        self.members.insert(GroupId(group), members);
    }

    /// Gives a group this number of shards, by the map and by its leader's report.
    fn own(&mut self, group: u32, shards: u32) {
        self.map().shards.insert(GroupId(group), shards);
        self.leader(group).owned = shards;
    }

    fn map(&mut self) -> &mut Assignment {
        self.assignment.as_mut().unwrap()
    }

    fn group(&mut self, group: u32) -> &mut ObservedServers {
        self.groups.get_mut(&GroupId(group)).unwrap()
    }

    fn set(&mut self, group: u32) -> &mut ObservedSet {
        self.group(group).set.as_mut().unwrap()
    }

    fn members(&mut self, group: u32) -> &mut Members {
        self.members.get_mut(&GroupId(group)).unwrap()
    }

    fn leader(&mut self, group: u32) -> &mut Leader {
        self.members(group).leader.as_mut().unwrap()
    }

    /// Resolves the resource by the state that the cache has seen.
    fn resolved(&self) -> Resolved {
        let map = self.assignment.clone();
        let map = map.map(|assignment| ObservedMap { assignment, ..ObservedMap::default() });
        let servers = self.groups.iter().map(|(id, servers)| (ServerSet::Group(*id), servers.clone()));
        let seen = Observed { servers: servers.collect(), map, ..Observed::default() };
        Resolved::of(self.names.clone(), &self.spec, &seen).unwrap()
    }

    fn groups(&self) -> BTreeMap<GroupId, &ObservedServers> {
        self.groups.iter().map(|(id, servers)| (*id, servers)).collect()
    }

    fn turnover(&self) -> Turnover {
        Roster {
            resolved: &self.resolved(),
            groups: &self.groups(),
            members: &self.members,
            assignment: self.assignment.as_ref(),
            lost_nodes: &self.lost_nodes,
        }
        .turnover()
    }

    /// Returns true if nothing is done, and nothing is waited for.
    fn is_idle(&self) -> bool {
        let Turnover { steps, doing, ended, .. } = self.turnover();
        steps.is_empty() && doing.is_empty() && ended.is_empty()
    }

    /// Returns the steps as text; if there are none, the reason for waiting.
    fn next(&self) -> String {
        let turnover = self.turnover();
        let step = |step: &GroupStep| match step {
            GroupStep::Join(groups) => format!("join {}", GroupId::list(groups)),
            GroupStep::Leave(groups) => format!("leave {}", GroupId::list(groups)),
            GroupStep::Retire { group, uid, leader_address } => {
                format!("retire {group} {} at {leader_address}", uid.0)
            }
            GroupStep::LetGo { pod, .. } => format!("let go {}", pod.name),
            GroupStep::Disown { claims, .. } => format!("disown {}", claims.join(" ")),
            GroupStep::Delete { group, .. } => format!("delete {group}"),
        };
        let steps: Vec<String> = turnover.steps.iter().map(step).collect();
        if steps.is_empty() { turnover.doing.join("; ") } else { steps.join("; ") }
    }

    fn needs_look(&self) -> bool {
        needs_look(&self.resolved(), &self.groups(), self.assignment.as_ref())
    }

    /// Applies the end of a group as the operator does: no pods, and the mark.
    fn stop(&mut self, group: u32) {
        assert!(self.turnover().ended.contains(&GroupId(group)), "{}", self.next());
        let set = self.set(group);
        (set.replicas, set.retired) = (0, true);
    }
}

/// Returns three groups, of which group 2 was ordered to leave, and has done so.
fn drained() -> Scene {
    let mut scene = Scene::new(3, 2);
    scene.map().sharing.remove(&GroupId(2));
    scene.own(2, 0);
    scene
}

/// Returns the same with group 2 retired and forgotten.
fn forgotten() -> Scene {
    let mut scene = drained();
    scene.members.insert(GroupId(2), Members { retired: true, ..Members::default() });
    scene.map().founded.remove(&GroupId(2));
    scene
}

#[test]
fn nothing_is_done_where_all_groups_share_the_shards() {
    let mut scene = Scene::new(3, 3);
    assert!(scene.is_idle());
    assert!(!scene.needs_look());
    scene.assignment = None;
    assert!(scene.is_idle());
    assert!(!scene.needs_look());
}

#[test]
fn groups_that_are_missing_or_too_many_are_a_reason_to_look() {
    assert!(Scene::new(2, 3).needs_look());
    assert!(Scene::new(3, 2).needs_look());
    assert!(drained().needs_look(), "also when it shares nothing any more");
    let mut scene = forgotten();
    scene.stop(2);
    (scene.spec.groups, scene.assignment) = (3, None);
    assert!(scene.needs_look(), "also when it is asked for again");
}

#[test]
fn new_groups_join_together_when_all_are_founded_and_led() {
    let mut scene = Scene::new(1, 3);
    assert_eq!(scene.next(), "g1, g2 are to join: waiting for g1 to be founded");
    for group in [1, 2] {
        scene.start(group);
        scene.found(group);
    }
    assert_eq!(scene.next(), "join g1, g2");
    let leader = scene.members(2).leader.take();
    assert_eq!(scene.next(), "g1, g2 are to join: waiting for a leader of g2 that has a quorum");
    scene.members(2).leader = leader;
    for ordinal in [0, 1] {
        scene.group(2).pods.get_mut(&ordinal).unwrap().state = PodState::Starting;
    }
    assert_eq!(scene.next(), "join g1, g2", "whatever probes say");
    scene.map().founded.remove(&GroupId(2));
    assert_eq!(scene.next(), "g1, g2 are to join: waiting for g2 to be founded");
}

#[test]
fn groups_do_not_join_while_one_that_shares_the_shards_has_no_leader() {
    let mut scene = Scene::new(1, 2);
    scene.start(1);
    scene.found(1);
    scene.members(0).leader = None;
    assert_eq!(scene.next(), "g1 is to join: waiting for a leader of g0 that has a quorum");
}

#[test]
fn a_group_that_people_have_drained_stays_as_it_is_until_fewer_are_asked_for() {
    let mut scene = Scene::new(3, 3);
    scene.map().sharing.remove(&GroupId(1));
    scene.map().drained.insert(GroupId(1));
    scene.own(1, 0);
    assert!(scene.is_idle(), "only they have it join again");
    assert!(!scene.needs_look());
    scene.spec.groups = 2;
    assert!(scene.needs_look());
    assert_eq!(scene.next(), "retire g1 101 at demo-g1-0:7001");
    scene.spec.groups = 1;
    assert_eq!(scene.next(), "leave g2; retire g1 101 at demo-g1-0:7001");
}

#[test]
fn a_group_that_is_founded_and_has_no_servers_leaves_when_they_are_made_again() {
    let mut scene = Scene::new(3, 2);
    let servers = std::mem::take(scene.group(2));
    let members = scene.members.remove(&GroupId(2)).unwrap();
    assert!(scene.needs_look());
    assert_eq!(scene.next(), "leave g2");
    scene.map().sharing.remove(&GroupId(2));
    assert!(scene.needs_look());
    assert_eq!(scene.next(), "g2 is to leave: its servers, which are gone, are made again");
    assert_eq!(scene.turnover().ended, BTreeSet::new());
    *scene.group(2) = servers;
    scene.members.insert(GroupId(2), members);
    assert_eq!(scene.next(), "g2 leaves: 80 of its shards are still to go");
}

#[test]
fn which_of_too_many_groups_leave_is_not_said_before_the_shard_manager_can_be_asked() {
    let mut scene = Scene::new(4, 3);
    scene.assignment = None;
    assert_eq!(scene.next(), "one of g0, g1, g2, g3 is to leave: waiting for the shard manager");
    scene.spec.groups = 2;
    assert_eq!(scene.next(), "2 of g0, g1, g2, g3 are to leave: waiting for the shard manager");
    scene.spec.groups = 4;
    assert!(scene.is_idle());
}

#[test]
fn groups_that_are_too_many_leave_together_and_nothing_else_happens_to_them() {
    let scene = Scene::new(4, 2);
    assert_eq!(scene.next(), "leave g2, g3");
    assert_eq!(scene.turnover().doing, ["g2, g3 leave"]);
    assert_eq!(scene.turnover().ended, BTreeSet::new());
}

#[test]
fn a_group_does_not_leave_when_no_other_shares_the_shards() {
    let mut scene = Scene::new(1, 1);
    // This group was retired by mistake: it had no shards when the manager was asked.
    scene.members(0).retired = true;
    assert_eq!(scene.next(), "g0 is to leave: no other group shares the shards");
}

#[test]
fn a_group_that_shares_no_shards_goes_before_one_that_does() {
    let mut scene = Scene::new(2, 1);
    scene.map().sharing.remove(&GroupId(0));
    assert_eq!(scene.next(), "g0 leaves: 120 of its shards are still to go");
}

#[test]
fn a_group_is_retired_only_when_the_map_and_its_own_leader_say_that_it_has_nothing() {
    assert_eq!(drained().next(), "retire g2 102 at demo-g2-0:7001");
    let waits = |change: &dyn Fn(&mut Scene), why: &str| {
        let mut scene = drained();
        change(&mut scene);
        assert_eq!(scene.next(), why);
        assert_eq!(scene.turnover().ended, BTreeSet::new());
    };
    waits(&|s| s.map().shards = [(GroupId(2), 5)].into(), "g2 leaves: 5 of its shards are still to go");
    waits(&|s| s.leader(2).owned = 1, "g2 leaves: 1 of its shards are still to go");
    waits(&|s| s.leader(2).arriving = 2, "g2 leaves: it still receives 2 shards");
    waits(&|s| s.leader(2).uid = GroupUid(9), "g2 is to leave, but the shard manager knows another g2");
    waits(&|s| s.members(2).leader = None, "g2 is to leave, but no leader of it has a quorum");
    waits(&|s| drop(s.members.remove(&GroupId(2))), "g2 is to leave, but no leader of it has a quorum");
    waits(&|s| s.assignment = None, "one of g0, g1, g2 is to leave: waiting for the shard manager");
}

#[test]
fn a_retired_group_is_kept_until_the_shard_manager_has_forgotten_it() {
    let mut scene = forgotten();
    scene.map().founded.insert(GroupId(2), GroupUid(102));
    assert_eq!(scene.next(), "g2 is retired: waiting for the shard manager to forget it");
    scene.map().founded.remove(&GroupId(2));
    scene.members(2).lives = true;
    let waits = "g2 is to go: waiting for the shard manager, to which it isn't known yet";
    assert_eq!(scene.next(), waits, "a replica is of another group");
    scene.members(2).lives = false;
    scene.members(2).unaware.insert("demo-g2-1".to_owned());
    assert_eq!(scene.next(), "g2 is to go: waiting for demo-g2-1 to learn that g2 is retired");
    scene.members(2).unaware.clear();
    scene.stop(2);
}

#[test]
fn a_group_that_lives_is_never_stopped_whatever_the_map_says() {
    let mut scene = drained();
    scene.map().founded.clear();
    assert_eq!(scene.next(), "g2 is to go: waiting for the shard manager, to which it isn't known yet");
    // Nothing is known of servers that can't be asked.
    scene.members(2).lives = false;
    assert_eq!(scene.next(), "g2 is to go: demo-g2-0 doesn't say that it has nothing");
}

#[test]
fn a_group_that_was_never_founded_is_stopped_when_none_of_its_servers_has_anything() {
    let mut scene = Scene::new(2, 2);
    scene.start(2);
    scene.members(2).waiting.remove("demo-g2-1");
    assert_eq!(scene.next(), "g2 is to go: demo-g2-1 doesn't say that it has nothing");
    // The server was never on a node, and has no volume.
    scene.group(2).pods.get_mut(&1).unwrap().node = None;
    assert_eq!(scene.next(), "g2 is to go: demo-g2-1 doesn't say that it has nothing");
    scene.group(2).claims[1].binding = Binding::Pending;
    scene.stop(2);
}

#[test]
fn servers_stop_first_and_then_the_objects_of_the_group_go() {
    let mut scene = forgotten();
    assert_eq!(scene.next(), "g2 is no more: its servers stop");
    scene.stop(2);
    assert_eq!(scene.next(), "g2 is no more: waiting for its servers to stop");
    // No server can report any more that the group is retired: that is why it was written down.
    scene.members.remove(&GroupId(2));
    scene.group(2).pods.clear();
    scene.set(2).is_current = false;
    assert_eq!(scene.next(), "g2 is no more: waiting for its servers to stop");
    scene.set(2).is_current = true;
    assert_eq!(scene.next(), "delete g2");
    scene.set(2).leaving = true;
    assert_eq!(scene.next(), "g2 is no more: waiting for its StatefulSet to go");
}

#[test]
fn volumes_that_are_to_be_kept_belong_to_nobody_before_the_group_goes() {
    let mut scene = forgotten();
    scene.stop(2);
    scene.group(2).pods.clear();
    scene.group(2).claims[0].owned = true;
    assert_eq!(scene.next(), "disown data-demo-g2-0");
    scene.spec.storage.when_scaled = Retention::Delete;
    assert_eq!(scene.next(), "delete g2");
}

#[test]
fn a_pod_on_a_lost_node_holds_nothing_up_when_its_group_is_no_more() {
    let mut scene = forgotten();
    scene.lost_nodes.insert("node1".to_owned());
    scene.group(2).pods.get_mut(&1).unwrap().state = PodState::Leaving;
    scene.stop(2);
    assert_eq!(scene.next(), "let go demo-g2-1");
    scene.group(2).pods.get_mut(&1).unwrap().state = PodState::Ready;
    assert_eq!(scene.next(), "g2 is no more: waiting for its servers to stop");
}

#[test]
fn a_group_that_is_wanted_again_before_it_is_retired_joins_again() {
    let mut scene = drained();
    scene.spec.groups = 3;
    assert_eq!(scene.next(), "join g2");
    scene.leader(2).owned = 5;
    assert_eq!(scene.next(), "join g2");
}

#[test]
fn a_retired_group_that_is_wanted_again_is_gone_first() {
    let mut scene = forgotten();
    scene.spec.groups = 3;
    assert!(scene.turnover().steps.is_empty(), "it doesn't join");
    assert_eq!(
        scene.next(),
        "g2 is to join: waiting for the old g2 to be gone; g2 is no more: its servers stop"
    );
    scene.stop(2);
    scene.group(2).pods.clear();
    scene.members.remove(&GroupId(2));
    assert_eq!(scene.next(), "delete g2");
    scene.groups.remove(&GroupId(2));
    assert_eq!(scene.next(), "g2 is to join: waiting for g2 to be founded");
}

#[test]
fn a_group_that_somebody_retired_leaves_although_it_is_wanted() {
    let mut scene = Scene::new(3, 3);
    scene.members(2).retired = true;
    assert_eq!(scene.next(), "leave g2");
}

#[test]
fn what_is_no_more_stays_so_while_the_shard_manager_is_away() {
    let mut scene = forgotten();
    scene.stop(2);
    scene.assignment = None;
    assert_eq!(scene.turnover().ended, [GroupId(2)].into());
    assert!(scene.turnover().steps.is_empty());
}

#[test]
fn each_case_of_the_common_table_follows_from_what_servers_and_shard_manager_say() {
    for case in skv_turnover::cases::all() {
        let mut scene = Scene::new(0, case.count);
        scene.assignment = Some(Assignment::of(&case.map, &case.newest));
        for (id, statuses) in &case.said {
            scene.start(id.0);
            scene.members.insert(*id, Members::from_statuses(statuses));
        }
        let turnover = scene.turnover();
        let steps: Vec<GroupStep> = case.steps.into_iter().map(at_its_pod).collect();
        assert_eq!((turnover.steps, turnover.doing), (steps, to_strings(&case.notes)), "{}", case.name);
        let stay = |id: &&GroupId| !case.running.contains(id);
        let ended: BTreeSet<GroupId> = case.said.keys().filter(stay).copied().collect();
        assert_eq!(turnover.ended, ended, "{}", case.name);
    }
}

fn at_its_pod(step: skv_turnover::Step) -> GroupStep {
    match step {
        skv_turnover::Step::Join(groups) => GroupStep::Join(groups),
        skv_turnover::Step::Leave(groups) => GroupStep::Leave(groups),
        skv_turnover::Step::Retire { group, uid, server } => {
            GroupStep::Retire { group, uid, leader_address: format!("{server}:7001") }
        }
    }
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
