//! Updates of a ring, whose servers each hold replicas of several groups.

use super::*;

#[test]
fn of_a_ring_one_server_goes_at_a_time_and_leads_nothing_when_it_goes() {
    let mut scene = Scene::ring(5, 3).outdated();
    let expected = [
        "hand over demo-4 any",
        "evict demo-4",
        // To who has had its turn, as long as others haven't.
        "hand over demo-3 2",
        "evict demo-3",
        "hand over demo-2 any",
        "evict demo-2",
        "hand over demo-0 3",
        "evict demo-0",
        // It was handed g4 by the first one.
        "hand over demo-1 any",
        "hand over demo-1 any",
        "evict demo-1",
    ];
    assert_eq!(scene.steps(), expected);
    assert_eq!(scene.next(), "nothing");
}

#[test]
fn of_a_ring_nobody_goes_while_any_group_is_amiss() {
    let mut scene = Scene::ring(5, 3).outdated();
    scene.leader(3).changing = true;
    assert_eq!(scene.next(), "waiting for g3: its members are changing");
    let mut scene = Scene::ring(5, 3).outdated();
    scene.servers.get_mut(&ServerSet::Ring).unwrap().pods.get_mut(&3).unwrap().state = PodState::Starting;
    assert_eq!(scene.next(), "waiting for g1: demo-3 isn't ready");
}

#[test]
fn a_server_of_a_ring_is_replaced_when_each_of_its_groups_has_it_back() {
    let mut scene = Scene::ring(5, 3).outdated();
    scene.evolve();
    scene.evolve();
    assert_eq!(scene.replacing.as_ref().unwrap().pod, "demo-4");
    // It hosts g4, g3 and g2.
    scene.later.get_mut(&GroupId(2)).unwrap().matched.insert(ReplicaId(3), 9);
    assert_eq!(scene.next(), "replacing demo-4: demo-4 hasn't caught up");
    scene.later.get_mut(&GroupId(2)).unwrap().matched.insert(ReplicaId(3), 10);
    assert_eq!(scene.next(), "hand over demo-3 2");
    assert!(scene.decide().replaced);
}

#[test]
fn a_ring_of_single_replicas_is_replaced_server_by_server() {
    let mut scene = Scene::ring(2, 1).outdated();
    assert_eq!(scene.next(), "evict demo-1");
    scene.evolve();
    assert_eq!(scene.next(), "evict demo-0");
}

#[test]
fn a_ring_is_looked_at_when_a_group_of_it_has_no_majority() {
    let mut scene = Scene::ring(5, 3);
    assert!(!needs_look(&scene.resolved, None, true, &scene.servers));
    let pods = &mut scene.servers.get_mut(&ServerSet::Ring).unwrap().pods;
    pods.get_mut(&0).unwrap().state = PodState::Starting;
    pods.get_mut(&3).unwrap().state = PodState::Starting;
    // Only shard 3 is on both: on 3, 4 and 0.
    assert!(needs_look(&scene.resolved, None, true, &scene.servers));
    let pods = &mut scene.servers.get_mut(&ServerSet::Ring).unwrap().pods;
    pods.get_mut(&3).unwrap().state = PodState::Ready;
    assert!(!needs_look(&scene.resolved, None, true, &scene.servers));
}
