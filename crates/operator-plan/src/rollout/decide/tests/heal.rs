//! Pods that are brought back, and pods that stay as they are.

use super::*;
use crate::claims::Binding;

#[test]
fn a_pod_on_a_lost_node_is_let_go_once_its_volume_was_given_up() {
    let mut scene = Scene::new(3);
    scene.pod(0, 1).state = PodState::Leaving;
    assert_eq!(scene.next(), "nothing");
    scene.lost_nodes.insert("node1".to_owned());
    assert_eq!(scene.next(), "nothing", "the node may come back with its disk");
    let claim = |leaving| Claim {
        name: "data-demo-g0-1".to_owned(),
        binding: Binding::Bound,
        leaving,
        ..Claim::default()
    };
    scene.servers.get_mut(&of_group(0)).unwrap().claims = vec![claim(true)];
    assert!(needs_look(&scene.resolved, None, true, &scene.servers));
    assert_eq!(scene.next(), "force demo-g0-1");
    scene.lost_nodes.clear();
    assert_eq!(scene.next(), "nothing", "the node answers, and will stop it");
}

#[test]
fn a_pod_in_memory_on_a_lost_node_is_let_go_when_its_group_can_do_without_it() {
    let mut scene = Scene::new(3);
    scene.pod(0, 1).state = PodState::Leaving;
    scene.lost_nodes.insert("node1".to_owned());
    scene.silence(0, 1);
    assert_eq!(scene.next(), "nothing", "its volume may come back with the node");
    scene.resolved.spec.storage.memory_only = true;
    assert!(needs_look(&scene.resolved, None, true, &scene.servers));
    assert_eq!(scene.next(), "force demo-g0-1");
    // Another server of the group is gone: one that can't be reached may run on, and be one of the
    // majority.
    scene.unready(0, 2, PodState::Starting);
    let kept = "demo-g0-1 stays as it is: g0 isn't seen to hold a majority without it";
    assert_eq!(scene.next(), kept);
    scene.lose_leader(0);
    scene.pod(0, 1).state = PodState::Leaving;
    assert_eq!(scene.next(), kept);
}

#[test]
fn nor_is_one_that_a_majority_needs_let_go_with_its_volume() {
    let mut scene = Scene::new(3);
    scene.pod(0, 1).state = PodState::Leaving;
    scene.lost_nodes.insert("node1".to_owned());
    let claim = Claim {
        name: "data-demo-g0-1".to_owned(),
        binding: Binding::Bound,
        leaving: true,
        ..Claim::default()
    };
    scene.servers.get_mut(&of_group(0)).unwrap().claims = vec![claim];
    scene.lose_leader(0);
    scene.pod(0, 1).state = PodState::Leaving;
    assert_eq!(scene.next(), "demo-g0-1 stays as it is: g0 isn't seen to hold a majority without it");
    // The group was revived from another replica, and needs no other. One that answers it may admit.
    scene.lead_again(0);
    scene.pod(0, 1).state = PodState::Leaving;
    scene.members(0).voters.retain(|replica, _| *replica == ReplicaId(1));
    let kept = "demo-g0-1 stays as it is: g0 isn't seen to hold a majority without it once it is admitted";
    assert_eq!(scene.next(), kept);
    scene.silence(0, 1);
    assert_eq!(scene.next(), "force demo-g0-1");
}

#[test]
fn of_a_group_without_a_leader_no_server_that_may_vote_goes_whatever_it_is_made_for() {
    for memory_only in [false, true] {
        let mut scene = Scene::new(3).outdated();
        scene.resolved.spec.storage.memory_only = memory_only;
        scene.lose_leader(0);
        assert_eq!(scene.decide().step, None);
        let why = "waiting for g0: demo-g0-0 isn't ready: it hasn't been for more than two minutes; \
                   demo-g0-0 stays as it is: g0 isn't seen to hold a majority without it";
        assert_eq!(scene.next(), why);
        // Servers that can't be asked may vote too.
        for ordinal in 0..3 {
            scene.silence(0, ordinal);
            assert_eq!(scene.decide().step, None, "{ordinal}");
        }
    }
}

#[test]
fn a_server_that_runs_in_vain_goes_when_its_group_holds_a_majority_without_it() {
    let mut scene = Scene::new(3).outdated();
    scene.unready(0, 2, PodState::Stuck);
    assert_eq!(scene.next(), "delete demo-g0-2");
    scene.silence(0, 2);
    assert_eq!(scene.next(), "delete demo-g0-2");
    let kept = |change: &dyn Fn(&mut Scene), why: &str| {
        let mut scene = Scene::new(3).outdated();
        scene.unready(0, 2, PodState::Stuck);
        change(&mut scene);
        let next = scene.next();
        assert!(next.ends_with(&format!("demo-g0-2 stays as it is: {why}")), "{next}");
    };
    let no_majority = "g0 isn't seen to hold a majority without it";
    kept(&|scene| scene.unready(0, 1, PodState::Starting), no_majority);
    kept(&|scene| scene.silence(0, 1), no_majority);
    kept(&|scene| scene.leader(0).changing = true, no_majority);
    // The leader reports the last position of a dead voter for ever: only the voter itself can report that
    // it lives.
    let is_dead = |scene: &mut Scene| {
        scene.members(0).ready.remove(&ReplicaId(2));
    };
    kept(&is_dead, no_majority);
    let lags = |scene: &mut Scene| {
        scene.later.get_mut(&GroupId(0)).unwrap().matched.insert(ReplicaId(2), 9);
    };
    kept(&lags, no_majority);
    kept(&|scene| drop(scene.later.remove(&GroupId(0))), no_majority);
}

#[test]
fn while_one_server_of_a_group_is_away_no_other_that_may_vote_goes() {
    let mut scene = Scene::new(5).outdated();
    scene.evolve();
    assert_eq!(scene.replacing.as_ref().unwrap().pod, "demo-g0-4");
    for state in [PodState::Starting, PodState::Leaving, PodState::Down("full".to_owned())] {
        scene.unready(0, 4, state);
        scene.unready(0, 3, PodState::Stuck);
        let next = scene.next();
        assert!(next.ends_with("demo-g0-3 stays as it is: demo-g0-4 is to be back in g0 first"), "{next}");
    }
    // The server is there again, and doesn't have everything yet.
    scene.pod(0, 4).state = PodState::Ready;
    scene.members(0).ready.insert(ReplicaId(5));
    scene.later.get_mut(&GroupId(0)).unwrap().matched.insert(ReplicaId(5), 9);
    assert_eq!(scene.decide().step, None);
    scene.later.get_mut(&GroupId(0)).unwrap().matched.insert(ReplicaId(5), 10);
    assert_eq!(scene.next(), "delete demo-g0-3");
}

#[test]
fn servers_in_which_no_voter_runs_go_at_once() {
    // The group of these servers isn't founded: the settings that they were made for may be the cause.
    let mut scene = Scene::new(3).outdated();
    scene.lose_leader(0);
    let servers: BTreeSet<String> = scene.members(0).heard.clone();
    *scene.members(0) = Members { heard: servers.clone(), waiting: servers, ..Members::default() };
    assert_eq!(scene.steps(), ["delete demo-g0-0", "delete demo-g0-1", "delete demo-g0-2"]);

    // The image doesn't know the format of the volumes.
    let mut scene = Scene::new(3).outdated();
    scene.lose_leader(0);
    for ordinal in [1, 2] {
        let server = scene.resolved.names.server(of_group(0), ordinal);
        scene.members(0).hosted.remove(&server);
        scene.members(0).broken.insert(server);
    }
    assert_eq!(scene.next(), "delete demo-g0-1");
    scene.evolve();
    assert_eq!(scene.next(), "delete demo-g0-2");

    // The replica was never admitted.
    let mut scene = Scene::new(5).outdated();
    scene.unready(0, 3, PodState::Starting);
    scene.unready(0, 4, PodState::Stuck);
    scene.members(0).voters.remove(&ReplicaId(5));
    assert_eq!(scene.next(), "delete demo-g0-4");
}

/// With a leader back, it could be admitted just before its pod goes, and then be one too few.
#[test]
fn a_server_that_waits_for_a_group_stays_while_no_leader_of_it_is_seen() {
    let mut scene = Scene::new(5).outdated();
    scene.members(0).voters.retain(|replica, _| *replica <= ReplicaId(3));
    scene.members(0).waiting.insert("demo-g0-3".to_owned());
    scene.lose_leader(0);
    assert_eq!(scene.decide().step, None);
    scene.lead_again(0);
    scene.unready(0, 3, PodState::Stuck);
    assert_eq!(scene.next(), "delete demo-g0-3", "its group has a majority, and has not admitted it");
}

/// Its leader may admit it between the look and the step.
#[test]
fn a_server_that_runs_and_waits_goes_only_if_its_group_has_a_majority_without_it_also_once_it_is_admitted() {
    let waits_beside = |voters: u32, away: &[u32]| {
        let mut scene = Scene::new(5);
        scene.members(0).voters.retain(|replica, _| *replica <= ReplicaId(u64::from(voters)));
        for ordinal in away {
            scene.unready(0, *ordinal, PodState::Starting);
        }
        // The next server has all but a vote.
        let server = scene.resolved.names.server(of_group(0), voters);
        scene.members(0).waiting.insert(server);
        scene.unready(0, voters, PodState::Stuck);
        OLD.clone_into(&mut scene.pod(0, voters).restart_hash);
        scene
    };
    let goes = |scene: &Scene, ordinal: u32| {
        let (next, server) = (scene.next(), format!("demo-g0-{ordinal}"));
        let why = "g0 isn't seen to hold a majority without it once it is admitted";
        let goes = next == format!("delete {server}");
        assert!(goes || next.ends_with(&format!("{server} stays as it is: {why}")), "{next}");
        goes
    };
    // Of four voters, two would be left; of five three; and of two one.
    assert!(goes(&waits_beside(3, &[]), 3));
    assert!(!goes(&waits_beside(3, &[2]), 3));
    assert!(goes(&waits_beside(4, &[3]), 4));
    assert!(!goes(&waits_beside(1, &[]), 1));

    // What doesn't run isn't admitted, and neither is a server without a replica.
    let mut scene = waits_beside(3, &[2]);
    scene.members(0).broken.insert("demo-g0-3".to_owned());
    assert!(goes(&scene, 3));
    let mut scene = waits_beside(3, &[2]);
    scene.pod(0, 3).state = PodState::Down("CrashLoopBackOff".to_owned());
    assert!(!goes(&scene, 3), "it answers");
    scene.silence(0, 3);
    assert!(goes(&scene, 3));
    scene.pod(0, 3).state = PodState::Stuck;
    assert!(!goes(&scene, 3), "its kubelet says that it runs");
}

#[test]
fn a_server_that_waits_for_the_place_of_its_dead_replica_makes_its_group_no_larger() {
    let mut scene = Scene::new(3).outdated();
    scene.unready(0, 2, PodState::Stuck);
    scene.members(0).hosted.insert("demo-g0-2".to_owned(), ReplicaId(12));
    scene.members(0).waiting.insert("demo-g0-2".to_owned());
    assert_eq!(scene.next(), "delete demo-g0-2", "the other two are a majority before and after");
    scene.lag(0, 1);
    let next = scene.next();
    let kept = "demo-g0-2 stays as it is: g0 isn't seen to hold a majority without it once it is admitted";
    assert!(next.ends_with(kept), "{next}");
}

#[test]
fn what_crash_loops_goes_without_a_leader_too_unless_its_server_answers() {
    let mut scene = Scene::new(3).outdated();
    scene.lose_leader(0);
    scene.pod(0, 1).state = PodState::Down("CrashLoopBackOff".to_owned());
    assert_eq!(scene.decide().step, None, "its kubelet is not heard of");
    scene.silence(0, 1);
    assert_eq!(scene.next(), "delete demo-g0-1");
}

#[test]
fn of_a_ring_a_server_that_runs_in_vain_goes_when_each_of_its_groups_can_do_without_it() {
    let stuck = |also_away: Option<(u32, u32)>| {
        let mut scene = Scene::ring(5, 3).outdated();
        let ready = |scene: &mut Scene, place: u32, state: PodState| {
            scene.servers.get_mut(&ServerSet::Ring).unwrap().pods.get_mut(&place).unwrap().state = state;
            let server = scene.resolved.names.server(ServerSet::Ring, place);
            for members in scene.members.values_mut() {
                let replica = members.hosted.get(&server).copied();
                members.ready.retain(|ready| Some(*ready) != replica);
            }
        };
        // The server hosts g4, g0 and g1.
        ready(&mut scene, 1, PodState::Stuck);
        scene.members.get_mut(&GroupId(1)).unwrap().leader = None;
        if let Some((group, replica)) = also_away {
            scene.members.get_mut(&GroupId(group)).unwrap().ready.remove(&ReplicaId(u64::from(replica)));
        }
        scene
    };
    let next = stuck(None).next();
    assert!(next.ends_with("demo-1 stays as it is: g1 isn't seen to hold a majority without it"), "{next}");
    let led = |mut scene: Scene| {
        // g1 has elected its second replica.
        let mut leader = scene.later[&GroupId(1)].clone();
        leader.replica = ReplicaId(2);
        leader.server = "demo-2".to_owned();
        leader.matched = [(ReplicaId(1), 10), (ReplicaId(3), 10)].into();
        scene.later.insert(GroupId(1), leader.clone());
        scene.members.get_mut(&GroupId(1)).unwrap().leader = Some(leader);
        scene
    };
    assert_eq!(led(stuck(None)).next(), "delete demo-1");
    let next = led(stuck(Some((4, 1)))).next();
    assert!(next.ends_with("demo-1 stays as it is: g4 isn't seen to hold a majority without it"), "{next}");
}

#[test]
fn a_surplus_member_that_goes_is_waited_for_before_another_is_taken() {
    let mut scene = Scene::new(5);
    scene.resolved.spec.replicas = 3;
    OLD.clone_into(&mut scene.pod(0, 4).restart_hash);
    scene.unready(0, 4, PodState::Stuck);
    assert_eq!(scene.next(), "delete demo-g0-4");
    scene.unready(0, 3, PodState::Leaving);
    assert_eq!(scene.next(), "remove demo-g0-4");
    scene.lost_nodes.insert("node1".to_owned());
    assert_eq!(scene.next(), "remove demo-g0-4", "it still runs");
    scene.silence(0, 3);
    assert_eq!(scene.next(), "delete demo-g0-4", "nobody waits for one that is gone with its node");
}
